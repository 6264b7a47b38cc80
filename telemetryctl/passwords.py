"""Where a password comes from: stdin or a person who types it unseen, never an argument."""

import sys
from typing import Annotated

import typer

from telemetryctl.failures import UsageFailure
from telemetryctl.session import Session

PASSWORD_CHARS_MAX = 1024

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, its first line.")
]


def given_password(session: Session, *, is_stdin: bool, is_new: bool = False) -> str:
    """Return the password; a new one is typed twice. Raises UsageFailure."""
    if is_stdin:
        return _checked(_line())
    if not session.may_ask or not session.console.is_stdin_tty:
        raise UsageFailure("there is no password", hint="--password-stdin < FILE")
    import getpass

    password = _checked(getpass.getpass("password: "))
    if is_new and getpass.getpass("again: ") != password:
        raise UsageFailure("the two are not the same")
    return password


def _line() -> str:
    if sys.stdin is None:
        raise UsageFailure("stdin is closed, so it holds no password")
    line = sys.stdin.buffer.readline(4 * PASSWORD_CHARS_MAX + 2)
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageFailure("what came from stdin is not text") from None


def _checked(password: str) -> str:
    if not password or len(password) > PASSWORD_CHARS_MAX:
        raise UsageFailure(f"a password has 1 to {PASSWORD_CHARS_MAX} characters")
    return password
