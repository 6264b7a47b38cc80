"""How fast points go out: `--rate 5k/s`."""

from __future__ import annotations

import re

from telemetryctl.failures import UsageFailure

_RATE = re.compile(r"(\d+(?:\.\d+)?)([kM]?)(?:/(s|m|min|h))?")
_SCALES = {"": 1.0, "k": 1e3, "M": 1e6}
_PERIODS_S = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def parse_rate(text: str) -> float:
    """Points a second of `5k/s`, `300/m` or `200`. Raises UsageFailure."""
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) * _SCALES[match[2]] / _PERIODS_S[match[3]] if match else 0.0
    if rate <= 0:
        raise UsageFailure(f'"{text}" is not a rate', hint="such as 200/s, 5k/s or 300/m")
    return rate


class Pace:
    """Lets at most `points_per_s` through, smoothly: no more than one second's worth at once."""

    def __init__(self, points_per_s: float) -> None:
        import asyncio

        from aiolimiter import AsyncLimiter

        # The limiter waits on a loop; this one runs only while somebody waits.
        self._loop = asyncio.new_event_loop()
        self._burst = max(1.0, points_per_s)
        self._limiter = AsyncLimiter(self._burst, self._burst / points_per_s)

    def wait(self, points: int) -> None:
        """Return when so many more may be sent."""
        self._loop.run_until_complete(self._acquire(points))

    async def _acquire(self, points: int) -> None:
        left = float(points)
        while left > 0:
            share = min(left, self._burst)
            await self._limiter.acquire(share)
            left -= share

    def close(self) -> None:
        self._loop.close()
