"""Secrets of the daemon that lie in files of their own: made on the first start, for its user
only."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from contextlib import suppress
from pathlib import Path

from daemon.domain.errors import DomainError
from daemon.log import get_logger

KEY_BYTES = 32
OPEN_TO_ALL = 0o007

log = get_logger()


class BadKeyFile(DomainError):
    """A file or setting that holds a secret can't be used."""

    code = "bad_key_file"


def key_in(file: Path, *, makes: bool = True) -> bytes | None:
    """The 32 bytes in the file, as base64; they are made when it is missing, unless that is not
    wanted.

    Raises BadKeyFile when it holds something else, or others may read it. None when the folder
    can't be written, which is told once.
    """
    try:
        if not file.exists():
            if not makes:
                return None
            _make(file)
        if file.stat().st_mode & 0o077:
            raise BadKeyFile(f"{file} may be read by others; it is to have mode 0600")
        return decoded(file.read_text("ascii").strip(), place=str(file))
    except OSError as error:
        log.warning("key_file_not_kept", file=str(file), reason=error.strerror)
        return None
    except UnicodeDecodeError as error:
        raise BadKeyFile(f"{file} is not base64") from error


def refuse_open(file: Path) -> None:
    """Raises BadKeyFile for a secret that everybody on this host may read or change, or that is
    not there."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise BadKeyFile(f"{file}: {error.strerror}") from error
    if mode & OPEN_TO_ALL:
        raise BadKeyFile(f"{file} holds a secret and may be read by others; chmod o= {file}")


def decoded(text: str, *, place: str) -> bytes:
    """The 32 bytes of base64. Raises BadKeyFile, naming the place."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadKeyFile(f"{place} is not base64") from error
    if len(key) != KEY_BYTES:
        raise BadKeyFile(f"{place} is not {KEY_BYTES} bytes in base64")
    return key


def _make(file: Path) -> None:
    """Write a new key, whole or not at all; who comes second takes the first one's."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError):
            os.link(mine, file)
            log.info("key_file_made", file=str(file))
    finally:
        mine.unlink(missing_ok=True)
