"""The key of the stored secrets: made once, for its user only, and never wrong unnoticed."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from daemon.service.secret_box import NoSecretKey, SecretBox, WrongSecretKey, secret_box

KEY = bytes(range(32))


def test_what_is_sealed_opens_with_the_same_key_for_the_same_thing_only() -> None:
    box = SecretBox(KEY)
    sealed = box.seal({"password": "p"}, about="chn_1")

    assert sealed is not None
    assert b"p" not in sealed[8:] or len(sealed) > 30
    assert box.open(sealed, about="chn_1") == {"password": "p"}
    assert sealed != box.seal({"password": "p"}, about="chn_1")
    assert sealed[:8] == box.mark
    for other, about in ((box, "chn_2"), (SecretBox(bytes(32)), "chn_1")):
        with pytest.raises(WrongSecretKey):
            other.open(sealed, about=about)
    for broken in (sealed[:-1], sealed[:20] + b"x" + sealed[21:], b""):
        with pytest.raises(WrongSecretKey):
            box.open(broken, about="chn_1")


def test_nothing_needs_no_key() -> None:
    box = SecretBox(None)

    assert box.seal({}, about="x") is None
    assert box.open(None, about="x") == {}
    with pytest.raises(NoSecretKey):
        box.seal({"a": "b"}, about="x")


def test_the_file_is_made_once_for_its_user_only(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "secret_key"
    first, second = secret_box("", file=file), secret_box("", file=file)

    assert first.mark == second.mark
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["secret_key"]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    secret_box("", file=file)
    file.chmod(0o640)

    with pytest.raises(NoSecretKey, match="0600"):
        secret_box("", file=file)


@pytest.mark.parametrize("text", ["short", base64.b64encode(bytes(31)).decode(), "é" * 44])
def test_a_key_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(NoSecretKey):
        secret_box(text, file=tmp_path / "unused")
    assert not (tmp_path / "unused").exists()


def test_a_folder_that_cannot_be_written_leaves_the_daemon_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    box = secret_box("", file=tmp_path / "file" / "secret_key")

    with pytest.raises(NoSecretKey):
        box.seal({"a": "b"}, about="x")
