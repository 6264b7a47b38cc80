"""The line that tells how far a long command is."""

import io
from contextlib import redirect_stderr

import pytest

from telemetryctl.output import progress
from telemetryctl.output.console import Console
from telemetryctl.output.progress import Progress, bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(progress, "QUIET_S", 0)
    monkeypatch.setattr(progress, "REDRAW_S", 0)
    return Terminal()


def test_a_bar_is_as_full_as_the_share_and_never_fuller() -> None:
    assert bar(0) == "[........................]   0 %"
    assert bar(0.5) == "[############............]  50 %"
    assert bar(7) == "[########################] 100 %"


def test_the_line_is_redrawn_and_taken_away(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        line = Progress(Console())
        line.update("one")
        line.update("two", fraction=0.5)
        line.clear()

    assert terminal.getvalue() == (
        "\r\x1b[Kone\r\x1b[K[############............]  50 % two\r\x1b[K"
    )


def test_names_of_files_can_not_steer_the_terminal(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        Progress(Console()).update("a\x1b[2Jb")

    assert terminal.getvalue() == "\r\x1b[Ka\\x1b[2Jb"


def test_quiet_runs_and_pipes_get_no_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redirect_stderr(terminal):
        Progress(Console(is_quiet=True)).update("one")
        monkeypatch.setattr(terminal, "isatty", lambda: False)
        Progress(Console()).update("two")

    assert terminal.getvalue() == ""


def test_a_short_command_draws_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_S", 60)
    with redirect_stderr(terminal):
        line = Progress(Console())
        line.update("one")
        line.clear()

    assert terminal.getvalue() == ""
