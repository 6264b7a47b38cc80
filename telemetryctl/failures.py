"""Failures that end a command; each says what, why, what to type next, and its exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script may rely on; `telemetryctl help exit-codes` explains each."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    NOTHING = 3
    NOT_ALLOWED = 4
    REFUSED = 5
    PARTLY = 6
    GAP = 7
    TRY_LATER = 75
    CONFIGURATION = 78
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class Failure(Exception):
    """A command can't go on. `what` is one line; `why` and `hint` may be empty."""

    exit_code = ExitCode.INTERNAL

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint


class UsageFailure(Failure):
    """The command line doesn't make sense."""

    exit_code = ExitCode.USAGE


class NothingThere(Failure):
    """What was asked for doesn't exist, or there is nothing new."""

    exit_code = ExitCode.NOTHING


class NotAllowed(Failure):
    """The server doesn't know the credential, or it may not do this."""

    exit_code = ExitCode.NOT_ALLOWED


class Refused(Failure):
    """The server understood and said no."""

    exit_code = ExitCode.REFUSED


class PartlyDone(Failure):
    """Some of it is done, some was refused."""

    exit_code = ExitCode.PARTLY


class GapFound(Failure):
    """Data is missing, and the user asked to be told by the exit code."""

    exit_code = ExitCode.GAP


class TryLater(Failure):
    """The same command may work later."""

    exit_code = ExitCode.TRY_LATER


class ConfigurationFailure(Failure):
    """A setting or one of the files they come from can't be used."""

    exit_code = ExitCode.CONFIGURATION


class MissingExtra(ConfigurationFailure):
    """An optional part is not installed."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(what, hint=f"pip install 'telemetryctl[{extra}]'")
