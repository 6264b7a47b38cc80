"""The files that hold contexts."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.api import contexts

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(TEXTS))
TABLES = st.recursive(
    st.dictionaries(TEXTS, VALUES, max_size=4),
    lambda inner: st.dictionaries(TEXTS, st.one_of(VALUES, inner), max_size=4),
    max_leaves=8,
)


@given(TABLES)
def test_what_is_written_is_read_again(tables: contexts.Table) -> None:
    assert tomllib.loads(contexts.format_tables(tables)) == tables


def write(folder: Path, name: str, token: str = "tlm_test") -> None:
    contexts.write_context(name, server=f"http://{name}.test", token=token, config_home=folder)


def test_a_second_context_leaves_the_first_and_the_current_one_alone(tmp_path: Path) -> None:
    write(tmp_path / "new", "local", token="one")
    write(tmp_path / "new", "work", token="two")

    config = contexts.read_config(tmp_path / "new")
    assert config["current"] == "local"
    assert config["contexts"]["local"] == {"server": "http://local.test"}
    assert contexts.read_credentials(tmp_path / "new") == {
        "contexts": {"local": {"token": "one"}, "work": {"token": "two"}}
    }


def test_only_the_user_may_read_the_files(tmp_path: Path) -> None:
    write(tmp_path / "new", "local")

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert modes == {".lock": 0o600, "config.toml": 0o600, "credentials.toml": 0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_credentials_that_others_may_read_are_refused(tmp_path: Path, mode: int) -> None:
    write(tmp_path, "local")
    (tmp_path / "credentials.toml").chmod(mode)

    with pytest.raises(contexts.ContextFileError, match="chmod 600"):
        contexts.read_credentials(tmp_path)


@pytest.mark.parametrize("text", ["x = ", "contexts = 1", "[contexts]\na = 1", "\xff"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_bytes(text.encode("latin-1"))

    with pytest.raises(contexts.ContextFileError, match=r"config\.toml"):
        contexts.read_config(tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a/b", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(contexts.ContextFileError):
        write(tmp_path, name)


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from telemetryctl.api import contexts\n"
        "for i in range(10):\n"
        "    contexts.write_context(f'{sys.argv[2]}-{i}', server='http://x', token='t',"
        " config_home=Path(sys.argv[1]))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in "abc"]
    codes = [run.wait(30) for run in runs]

    assert codes == [0, 0, 0]
    assert len(contexts.read_credentials(tmp_path)["contexts"]) == 30


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(contexts.ContextFileError, match="can't be written"):
        write(tmp_path / "file" / "below", "local")


def test_a_relative_xdg_folder_is_ignored() -> None:
    assert contexts.config_home({"XDG_CONFIG_HOME": "x"}).is_absolute()
    assert contexts.config_home({"XDG_CONFIG_HOME": "/x"}) == Path("/x/telemetryctl")


def test_the_module_needs_only_the_standard_library() -> None:
    script = (
        "import sys, telemetryctl.api.contexts\n"
        "print([m for m in ('pydantic', 'typer', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True
    )

    assert done.stdout.strip() == "[]"
