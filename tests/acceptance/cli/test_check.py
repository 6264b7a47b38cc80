"""`check`, `doctor` and `admin` against a real daemon."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from command_line import CommandLine, Result
from daemons import DaemonProcess
from stream_proxies import stream_proxy

NAGIOS = re.compile(r"^[A-Z]+ (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \| \S+=\S+( \S+=\S+)*)?\n$")


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A port that nobody listens on, nor can."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"


class TestCheck:
    @pytest.mark.parametrize("check", ["health", "lag", "alerts"])
    def test_all_is_well_on_one_line(self, cli: CommandLine, check: str) -> None:
        generous = ["--warn", "1m", "--crit", "5m"] if check != "alerts" else []

        result = cli.run("check", check, *generous)

        assert NAGIOS.match(result.out), result.out
        assert (result.code, " OK - " in result.out) == (0, True), result.out

    def test_ingest_tells_the_age_and_how_full_the_queue_is(self, cli: CommandLine) -> None:
        cli.run("write", "pump-1", "flow=1")

        result = cli.run("check", "ingest", "--warn", "5m", "--crit", "1h")

        assert NAGIOS.match(result.out), result.out
        assert result.code == 0
        assert re.search(r"age=[\d.]+s;300;3600 queue=0%;50;90 rate=", result.out)

    @pytest.mark.parametrize(
        ("bounds", "code"), [(("5m", "1h"), 0), (("0s", "1h"), 1), (("0s", "0s"), 2)]
    )
    def test_a_silent_device_is_worse_the_longer_it_is(
        self, cli: CommandLine, bounds: tuple[str, str], code: int
    ) -> None:
        cli.run("write", "pump-2", "flow=1")
        time.sleep(0.1)

        result = cli.run("check", "device", "pump-2", "--warn", bounds[0], "--max-age", bounds[1])

        assert result.code == code, result.out
        assert NAGIOS.match(result.out), result.out

    def test_the_same_for_other_readers(self, cli: CommandLine) -> None:
        patient = ("check", "health", "--warn", "1m", "--crit", "5m", "--format")
        text = cli.run(*patient, "text")
        document = json.loads(cli.run(*patient, "json").out)
        usual = json.loads(cli.run("check", "health", "--format", "json").out)
        exposed = cli.run(*patient, "prometheus").out

        assert text.out.startswith("ok: v")
        assert (document["state"], document["code"]) == ("ok", 0)
        assert document["figures"]["time"]["crit"] == 300
        assert usual["figures"]["time"]["crit"] == 5
        assert (
            '# TYPE telemetry_check_state gauge\ntelemetry_check_state{check="health"} 0\n'
            in exposed
        )

    @pytest.mark.parametrize(
        "arguments",
        [["health"], ["ingest"], ["device", "nobody"], ["lag"], ["alerts"]],
    )
    def test_a_server_that_is_not_there_is_unknown(
        self, cli: CommandLine, nowhere: str, arguments: list[str]
    ) -> None:
        result = cli.run("check", *arguments, "--server", nowhere, "--timeout", "2s")

        assert (result.code, " UNKNOWN - " in result.out) == (3, True)
        assert NAGIOS.match(result.out), result.out

    @pytest.mark.parametrize(
        "arguments",
        [["health", "--nope"], ["health", "--warn", "soon"], ["health", "--format", "xml"],
         ["what"], ["device", "nobody"], ["health", "-c", "no-such-context"]],
    )  # fmt: skip
    def test_a_mistake_is_unknown_too(self, cli: CommandLine, arguments: list[str]) -> None:
        assert cli.run("check", *arguments).code == 3

    def test_alerts_are_counted(self, cli: CommandLine) -> None:
        cli.run("write", "oven-9", "heat=20")
        made = cli.run(
            "rule", "create", "too-hot", "-m", "heat", "--when", "> 90", "--level", "critical"
        )
        assert made.code == 0, made.err
        cli.run("write", "oven-9", "heat=120")
        found = eventually(lambda: cli.run("check", "alerts"), lambda r: r.code != 0)
        lenient = cli.run("check", "alerts", "--warn", "0", "--crit", "5")
        cli.run("rule", "delete", "too-hot", "--yes")

        assert found.code == 2
        assert "1 critical | active=1;1 critical=1;;1" in found.out
        assert lenient.code == 0


def eventually(call: Any, is_so: Any) -> Result:
    deadline = time.monotonic() + 100
    while True:
        result: Result = call()
        if is_so(result):
            return result
        assert time.monotonic() < deadline, result.out
        time.sleep(0.2)


class TestDoctor:
    def test_it_looks_everywhere_and_finds_the_test_database_undurable(
        self, cli: CommandLine
    ) -> None:
        # What takes long on a busy machine is a warning, the next time no more.
        for _ in range(5):
            result = cli.run("doctor", "-o", "json")
            found = {one["check"]: one for one in json.loads(result.out)["findings"]}
            if all(one["state"] != "warn" for one in found.values()):
                break

        assert found["key file, for its user only"]["state"] == "ok"
        assert found["name and port"]["state"] == "ok"
        assert found["clock, against the server"]["state"] == "ok"
        assert found["WebSocket"]["state"] == "ok"
        assert found["versions"]["state"] == "ok"
        assert found["database"]["state"] == "ok"
        assert found["rules keep up"]["state"] == "ok"
        assert found["queue of ingest"]["state"] == "ok"
        assert found["locks"]["state"] == "ok"
        assert found["unit of systemd"]["state"] in ("ok", "skipped")
        # The servers of the tests run without fsync.
        assert found["commits are durable"]["state"] == "fail"
        assert result.code == 1

    def test_a_person_gets_lines_and_hints(self, cli: CommandLine, nowhere: str) -> None:
        result = cli.run("doctor", "-o", "table", "--server", nowhere)

        assert result.code == 1
        assert re.search(r"^network +name and port \.+ FAIL +Connection refused$", result.out, re.M)
        assert "does the daemon run" in result.out

    def test_a_proxy_that_lets_no_websocket_through_is_found(
        self, cli: CommandLine, daemon: DaemonProcess
    ) -> None:
        with stream_proxy(daemon.url) as proxy:
            proxy.allows_websocket = False
            to_it = {"TELEMETRYCTL_SERVER": proxy.url, "TELEMETRYCTL_TOKEN": daemon.key}
            result = cli.run("doctor", "-o", "json", **to_it)
        found = {one["check"]: one for one in json.loads(result.out)["findings"]}

        assert found["WebSocket"]["state"] == "warn"
        assert "403" in found["WebSocket"]["detail"]
        assert "help streams" in found["WebSocket"]["hint"]

    def test_keys_that_end_soon_are_named_to_who_sees_keys(
        self, cli: CommandLine, daemon: DaemonProcess
    ) -> None:
        cli.run("key", "create", "gateway", "--scope", "ingest", "--expires", "10d")
        cli.run("key", "create", "archive", "--scope", "ingest", "--expires", "90d")
        with daemon.http() as http:
            made = http.post("/keys", json={"name": "r", "scopes": ["read"], "tier": "free"}).json()

        def looked(**token: str) -> dict[str, Any]:
            findings = json.loads(cli.run("doctor", "-o", "json", **token).out)["findings"]
            return {one["check"]: one for one in findings}

        assert looked()["keys that end soon"]["detail"] == "gateway"
        assert "keys that end soon" not in looked(TELEMETRYCTL_TOKEN=made["key"])

    def test_an_open_key_file_is_found(self, cli: CommandLine) -> None:
        file = cli.config_folder / "credentials.toml"
        file.chmod(0o644)
        try:
            result = cli.run("doctor")
        finally:
            file.chmod(0o600)

        assert result.code == 78


class TestAdmin:
    def test_partitions_are_listed_with_where_they_lie(self, cli: CommandLine) -> None:
        document = json.loads(cli.run("admin", "partitions", "ls", "-o", "json").out)
        states = [one["state"] for one in document["partitions"]]

        assert states.count("current") == 1
        assert states.count("ahead") >= 47
        assert document["total_bytes"] > 0

    def test_retention_runs_when_it_is_asked_to(self, cli: CommandLine) -> None:
        unsure = cli.run("admin", "retention", "run")
        asked = cli.run("admin", "retention", "run", "--yes")

        assert unsure.code == 2
        assert (asked.code, asked.out) == (0, "")

    def test_a_key_that_only_reads_may_not(self, cli: CommandLine) -> None:
        made = json.loads(cli.run("key", "create", "r", "--scope", "read", "-o", "json").out)

        result = cli.run("admin", "partitions", "ls", TELEMETRYCTL_TOKEN=made["key"])

        assert result.code == 4
