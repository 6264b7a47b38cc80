"""docs/how-to/: the commands and programs of each page run in order, and do what it says."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import a_browser, served
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from documents import ROOT, blocks, run_shell, steps
from receivers import free_port
from servers import PostgresServer
from stream_clients import write

from daemon.config import Config

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
PAGES = sorted(f"docs/how-to/{path.name}" for path in (ROOT / "docs" / "how-to").glob("*.md"))


def how_to(name: str) -> str:
    return f"docs/how-to/{name}.md"


def settings_of(name: str) -> dict[str, Any]:
    """The settings that a page asks for."""
    [found] = blocks(how_to(name), "toml")
    return tomllib.loads(found)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of an empty page."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>a page</title>")
    shutil.copy(ROOT / "examples/javascript/telemetry.mjs", folder)
    with served(folder) as origin:
        yield origin


@pytest.fixture(scope="module")
def daemon(postgres: PostgresServer, site: str) -> Iterator[DaemonProcess]:
    """A daemon with the settings of the pages, and the origin of ours."""
    origins = [*settings_of("browser")["http"]["cors_origins"], site]
    allowed = settings_of("alerts")["notifications"]["allow_hosts"]
    process = start_daemon(
        asyncio.run(fresh_database(postgres)),
        http__cors_origins=json.dumps(origins), notifications__allow_hosts=json.dumps(allowed),
    )  # fmt: skip
    yield process
    process.stop()


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_of_a_page_is_one(page: str) -> None:
    for text in blocks(page, "toml"):
        Config(**tomllib.loads(text))


def test_a_fleet_is_let_in(daemon: DaemonProcess, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/python/telemetry.py", tmp_path)

    said = run_shell(
        "exec 2>&1\n" + steps(how_to("devices")), daemon=daemon, folder=tmp_path,
        environ={"URL": daemon.url},
    )  # fmt: skip

    assert "exit 4: not its device" in said
    assert "refused: out_of_bounds" in said
    assert not (tmp_path / "backlog.jsonl").exists()
    assert re.search(r"^fridge-1\ttemperature\t.*4\.6", said, re.MULTILINE), said
    assert "DEVICE OK - " in said
    assert daemon.cli("device", "get", "fridge-1", check=False).returncode == 3


def test_exports_run_from_cron(daemon: DaemonProcess, tmp_path: Path) -> None:
    page = how_to("cron-exports")
    [crontab] = blocks(page, "cron")
    line = crontab.splitlines()[-1].removeprefix("15 * * * * ").replace("\\%", "%")
    home = {"HOME": str(tmp_path)}
    # Settings of the command line stay where the daemon saved them; the files are ours.
    said = run_shell(steps(page), daemon=daemon, folder=tmp_path, environ=home)
    by_cron = run_shell(line, daemon=daemon, folder=tmp_path, environ=home)

    assert said.count(",fridge,temperature,4.5,") == 1
    assert by_cron == ""


def test_the_units_of_the_page_are_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    for text in blocks(how_to("cron-exports"), "ini"):
        name = text.splitlines()[0].rpartition("/")[2]
        (tmp_path / name).write_text(text.replace("/usr/local/bin/telemetryctl", "/bin/true"))
    for unit in tmp_path.iterdir():
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert (done.returncode, done.stderr) == (0, ""), unit.name


def test_somebody_is_told(daemon: DaemonProcess, tmp_path: Path) -> None:
    page, port = how_to("alerts"), str(free_port())
    [program] = blocks(page, "python")
    (tmp_path / "receive.py").write_text(program.replace("9000", port))
    script = "exec 2>&1\n" + "\n".join(blocks(page, "sh")).replace("9000", port)

    said = run_shell(script, daemon=daemon, folder=tmp_path)

    told = [line.split()[0] for line in (tmp_path / "told.txt").read_text().splitlines()]
    assert list(dict.fromkeys(told)) == ["channel.test", "alert.triggered", "alert.resolved"], said
    assert (tmp_path / "ops.secret").stat().st_mode & 0o077 == 0
    assert "ops,fire,sent" in said


class TestBrowser:
    def test_a_page_is_let_in_with_a_ticket(self, daemon: DaemonProcess, tmp_path: Path) -> None:
        script = "exec 2>&1\n" + "\n".join(blocks(how_to("browser"), "sh"))

        # curl is told that nobody reads on, or that its time is over.
        script = script.replace("| head -n 3", "|| true").replace("--max-time 1", "--max-time 5")
        said = run_shell(script, daemon=daemon, folder=tmp_path)

        assert "access-control-allow-origin: http://127.0.0.1:8000" in said.lower()
        assert "event: welcome" in said
        assert '"code":"unauthenticated"' in said

    async def test_the_program_shows_points(self, daemon: DaemonProcess, site: str) -> None:
        [program] = blocks(how_to("browser"), "js")
        start = (
            f"{program}; window.seen = []; (async () => {{"
            f" for await (const point of points('{daemon.url}/api/v1/telemetry',"
            f" () => '{daemon.key}', {{ device_ids: 'page' }})) window.seen.push(point.value);"
            " })(); true"
        )
        async with a_browser() as browser:
            page = await browser.page()
            await page.open(site + "/")
            await page.run(start)
            for value in range(600):
                await write(daemon, "page", float(value), metric="m")
                if await page.run("window.seen.length > 2"):
                    break
                await asyncio.sleep(0.1)
            seen = await page.run("window.seen")

        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert len(seen) > 2
        assert not [url for url in page.requests if daemon.key in url]

    async def test_the_client_of_the_examples_works_in_a_page(
        self, daemon: DaemonProcess, site: str
    ) -> None:
        script = f"""(async () => {{
            const {{ Telemetry, Problem }} = await import("{site}/telemetry.mjs");
            const telemetry = new Telemetry("{daemon.url}", "{daemon.key}");
            const {{ cursor }} = await telemetry.call("GET", "/changes?after=now&limit=1");
            const point = {{ timestamp: Date.now(), metric_name: "m", value: 7 }};
            const broken = {{ ...point, metric_name: "" }};
            const refused = await telemetry.send("module", [point, broken]);
            const code = await telemetry.call("GET", "/devices/none").catch(
                (error) => error instanceof Problem && error.code);
            for await (const found of telemetry.follow({{ device_ids: "module" }}, {{ cursor }}))
                return [found.point.value, refused[0].code, code];
        }})()"""
        async with a_browser() as browser:
            page = await browser.page()
            await page.open(site + "/")
            found = await page.run(script)

        assert found == [7, "bad_name", "unknown_device"]


PATIENT = {
    "sleep 1\n": "until telemetryctl latest pump_1 --server $B; do sleep 0.2; done\n",
    "&wait=5": "&wait=50",
    "telemetryctl status --server $A -o yaml": "until telemetryctl status --server $A -o yaml"
    " > status.yaml && grep -q 'status: healthy' status.yaml; do sleep 0.5; done\n"
    "cat status.yaml",
}
"""What the page says for machines that do nothing else."""


def test_two_hosts_are_one(postgres: PostgresServer, tmp_path: Path) -> None:
    """Both with the settings and the secrets of the page."""
    page = how_to("several-hosts")
    dsn = asyncio.run(fresh_database(postgres))
    [settings], [secrets, *commands] = blocks(page, "toml"), blocks(page, "sh")
    subprocess.run(["bash", "-euc", secrets], cwd=tmp_path, check=True)
    lines = (tmp_path / "secrets.env").read_text().splitlines()
    named = dict(line.split("=", 1) for line in lines)
    file = tmp_path / "telemetry.toml"
    file.write_text(re.sub(r'url = ".*"', f'url = "{dsn}"', settings))
    environment = named | {"TELEMETRY_CONFIG": str(file), "TELEMETRY_SERVER__HOST": "127.0.0.1"}
    first = start_daemon(dsn, environment=environment)
    second = start_daemon(dsn, key=first.key, environment=environment)
    script = "exec 2>&1\n" + "\n".join(commands)
    script = script.replace("http://10.0.0.11:8218", first.url)
    script = script.replace("http://10.0.0.12:8218", second.url)
    for said_so, patient in PATIENT.items():
        assert said_so in script
        script = script.replace(said_so, patient)
    try:
        said = run_shell(
            script, daemon=first, folder=tmp_path, environ={"TELEMETRYCTL_TOKEN": first.key}
        )
    finally:
        second.stop()
        first.stop()

    assert re.search(r"^pump_1\tpressure\t.*2\.4", said, re.MULTILINE), said
    assert '"value":2.5' in said
    assert '"principal":"key_' in said
    assert "status: healthy" in said
