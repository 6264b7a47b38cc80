"""deploy/install.sh puts things where the units look for them; container files hang together."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def install(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", DEPLOY / "install.sh"],
        env={"PATH": "/usr/bin:/bin", "DESTDIR": str(root)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_an_installation_has_the_units_and_the_settings(tmp_path: Path) -> None:
    done = install(tmp_path)
    settings = tmp_path / "etc" / "telemetry" / "telemetry.toml"

    assert done.returncode == 0, done.stderr
    assert settings.read_text() == (ROOT / "config.example.toml").read_text()
    assert settings.stat().st_mode & 0o007 == 0
    found = {file.name for file in (tmp_path / "etc" / "systemd" / "system").iterdir()}
    assert found == {file.name for file in (DEPLOY / "systemd").iterdir()}


def test_an_upgrade_keeps_the_settings(tmp_path: Path) -> None:
    install(tmp_path)
    settings = tmp_path / "etc" / "telemetry" / "telemetry.toml"
    settings.write_text("[server]\nport = 9000\n")

    done = install(tmp_path)

    assert done.returncode == 0
    assert settings.read_text() == "[server]\nport = 9000\n"


def test_an_administrator_types_what_the_unit_runs(tmp_path: Path) -> None:
    """With its secrets, which no shell looks into, and its folders."""
    install(tmp_path)
    (tmp_path / "etc/telemetry/secrets.env").write_text(
        "# ours\nTELEMETRY_DATABASE__URL=postgresql://t:p$HOME`x`@db/t\n"
        'TELEMETRY_AUTH__JWT_SECRET="quoted, with spaces"\n'
    )
    lines = as_telemetry(tmp_path, unit="[Service]\nUser=telemetry\n")

    program = "/opt/telemetry/bin/telemetryd"
    assert lines[:7] == ["-u", "telemetry", "--", program, "db", "backup", "a b"]
    assert "TELEMETRY_DATABASE__URL=postgresql://t:p$HOME`x`@db/t" in lines
    assert "TELEMETRY_AUTH__JWT_SECRET=quoted, with spaces" in lines
    assert "TELEMETRY_CONFIG=/etc/telemetry/telemetry.toml" in lines
    # As the unit has it: StateDirectory=telemetry.
    assert "STATE_DIRECTORY=/var/lib/telemetry" in lines


def test_an_administrator_has_the_credentials_of_the_unit(tmp_path: Path) -> None:
    """Those of its drop-ins, too; the file of secrets goes before them, as in the daemon."""
    install(tmp_path)
    folder = tmp_path / "etc/telemetry/credentials"
    folder.mkdir()
    (folder / "url").write_text("postgresql://t:p$HOME@db/t\n")
    (folder / "jwt").write_text("of the credential")
    (tmp_path / "etc/telemetry/secrets.env").write_text("TELEMETRY_AUTH__JWT_SECRET=ours\n")
    lines = as_telemetry(
        tmp_path,
        unit="[Service]\n# LoadCredential=a:/b\n"
        "LoadCredential=database__url:/etc/telemetry/credentials/url\n"
        "# /etc/systemd/system/telemetryd.service.d/ours.conf\n[Service]\n"
        "LoadCredential=auth__jwt_secret:/etc/telemetry/credentials/jwt\n"
        "LoadCredential=tls.pem:/etc/ssl/ours\nLoadCredential=plain:/etc/ours\n",
    )

    assert "TELEMETRY_DATABASE__URL=postgresql://t:p$HOME@db/t" in lines
    assert "TELEMETRY_AUTH__JWT_SECRET=ours" in lines
    assert not [line for line in lines if "PLAIN" in line or "PEM" in line]


def test_a_credential_that_is_not_there_runs_nothing(tmp_path: Path) -> None:
    """Without the address of its database the daemon would take the embedded one."""
    install(tmp_path)
    with pytest.raises(AssertionError, match="No such file"):
        as_telemetry(tmp_path, unit="LoadCredential=database__url:/etc/telemetry/nowhere\n")


def as_telemetry(root: Path, *, unit: str) -> list[str]:
    """What `as-telemetry telemetryd db backup "a b"` would run, a line for each argument, and its
    environment; `unit` is what `systemctl cat` shows."""
    programs = root / "bin"
    programs.mkdir()
    (root / "unit").write_text(unit)
    for name, does in {
        "runuser": 'printf "%s\\n" "$@"\nenv\n',
        "systemctl": f'[ "$*" = "cat telemetryd.service" ] && cat {root}/unit\n',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        [root / "usr/local/sbin/as-telemetry", "telemetryd", "db", "backup", "a b"],
        env={"PATH": f"{programs}:/usr/bin:/bin", "DESTDIR": str(root)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if done.returncode == 2 and "needs root" in done.stderr:
        pytest.skip("only root may become another user")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_each_shell_script_is_one() -> None:
    for script in [*DEPLOY.rglob("*.sh"), DEPLOY / "as-telemetry"]:
        done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), script


@pytest.mark.parametrize(("state", "says"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_a_container_is_unhealthy_when_its_daemon_is_and_not_for_a_warning(
    state: int, says: int, tmp_path: Path
) -> None:
    """As Docker runs it, with a telemetryctl that ends like those of a daemon in that state."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    (command,) = re.findall(r"^HEALTHCHECK .*\\\n\s+CMD (.+)$", text, re.M)
    (tmp_path / "telemetryctl").write_text(f"#!/bin/sh\nexit {state}\n")
    (tmp_path / "telemetryctl").chmod(0o755)

    done = subprocess.run(["/bin/sh", "-c", command], env={"PATH": str(tmp_path)}, check=False)

    assert done.returncode == says


def test_the_image_copies_what_there_is_and_the_composition_uses_it() -> None:
    """They can't be built here; this holds their names against the checkout."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    copied = [
        one for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.M) for one in line.split()
    ]
    service: dict[str, Any] = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())[
        "services"
    ]["telemetryd"]

    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert (
        DEPLOY / "docker" / service["build"]["context"] / service["build"]["dockerfile"]
    ).is_file()
    assert service["volumes"] == ["telemetry:/var/lib/telemetry"]
    assert "STATE_DIRECTORY=/var/lib/telemetry" in text
