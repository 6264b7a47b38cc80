"""Files that hold a secret: made once, for their user only."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from daemon.domain.errors import DomainError
from daemon.service.key_files import BadKeyFile, key_in
from daemon.service.logins import WeakSecret, signing_secrets


def test_a_missing_one_is_made_and_found_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "jwt_secret"

    key = key_in(file)

    assert key is not None
    assert len(key) == 32
    assert key_in(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in file.parent.iterdir()] == ["jwt_secret"]


@pytest.mark.parametrize("text", ["", "x", "é", "A" * 40, base64.b64encode(b"x" * 31).decode()])
def test_one_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)

    with pytest.raises(BadKeyFile):
        key_in(file)


def test_one_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    key_in(file)
    file.chmod(0o640)

    with pytest.raises(BadKeyFile, match="0600"):
        key_in(file)


def test_a_place_that_can_not_be_written_gives_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert key_in(tmp_path / "file" / "key") is None


def test_the_configured_secret_signs_and_former_ones_verify(tmp_path: Path) -> None:
    secrets = signing_secrets("n" * 32, former=["f" * 32], file=tmp_path / "unused")

    assert secrets == (b"n" * 32, b"f" * 32)
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(("text", "former"), [("n" * 31, []), ("n" * 32, ["f"]), ("é" * 15, [])])
def test_a_short_secret_is_refused(tmp_path: Path, text: str, former: list[str]) -> None:
    with pytest.raises(WeakSecret) as refused:
        signing_secrets(text, former=former, file=tmp_path / "unused")

    assert isinstance(refused.value, DomainError)
    assert text not in refused.value.detail
