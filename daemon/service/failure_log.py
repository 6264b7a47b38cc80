"""Says which credentials were refused, without filling the log."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.log import get_logger

FAILURES_LOGGED_PER_S = 10

log = get_logger()


class FailureLog:
    """Logs refused credentials, at most FAILURES_LOGGED_PER_S lines.

    How many were left out is said in the next.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def log(self, reason: str, *, key_id: str | None, address: str) -> None:
        second = int(self._clock.monotonic_s())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= FAILURES_LOGGED_PER_S:
            self._left_out += 1
            return
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        log.warning(
            "authentication_failed",
            reason=reason,
            key_id=key_id,
            address=address,
            lines_left_out=left_out,
        )
