"""What feeds look things up in: the catalogue, the newest values, the time, and how frames name a
place."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.domain.cursors import Cursor
from daemon.domain.json_points import instant
from daemon.domain.series_name import SeriesName
from daemon.live.latest import Latest
from daemon.live.message import Message, Opening
from daemon.live.registry import Registry
from daemon.live.ring import Place

MESSAGE_BYTES_MAX = 99_000
"""Data of one message; with the envelope it stays under the contract's 100 KB (R-081)."""
MESSAGE_POINTS_MAX = 1_000


class Names(dict[int, SeriesName]):
    """What series are called, looked up when first asked for."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

    def __missing__(self, series_id: int) -> SeriesName:
        registry = self._registry
        device_id, metric_name = registry.device_of[series_id], registry.metric_of[series_id]
        name = SeriesName(device_id or "", metric_name or "", registry.kind_of(series_id))
        self[series_id] = name
        return name


class Views:
    """`version` changes with the catalogue and the groups: what was looked up before is void."""

    def __init__(self, registry: Registry, latest: Latest, clock: Clock) -> None:
        self.registry = registry
        self.latest = latest
        self.clock = clock
        self.names = Names(registry)
        self.version = 0
        self.message_bytes_max = MESSAGE_BYTES_MAX
        self.message_points_max = MESSAGE_POINTS_MAX
        self._seen = (-1, "", -1)
        self._text_ms, self._text = -1, ""
        self._opening: Opening | None = None
        self._opening_of: tuple[str, Place, str, str] | None = None

    def refresh(self) -> bool:
        """Whether the catalogue or the groups are others than at the last call."""
        registry = self.registry
        seen = (registry.version, registry.epoch, registry.membership.version)
        if seen == self._seen:
            return False
        self._seen = seen
        self.version += 1
        self.names.clear()
        return True

    def name_of(self, series_id: int) -> SeriesName | None:
        """None while the series is not in the catalogue."""
        registry = self.registry
        if series_id >= registry.size or not registry.kinds[series_id]:
            return None
        return self.names[series_id]

    def cursor(self, place: Place) -> Cursor:
        return Cursor(self.registry.epoch, *place)

    def now_text(self) -> str:
        """The time to the millisecond."""
        now_ms = self.clock.now_us() // 1000
        if now_ms != self._text_ms:
            self._text_ms, self._text = now_ms, instant(now_ms * 1000)
        return self._text

    def frame(self, kind: str, *, place: Place, data: bytes) -> Message:
        """A message of now; all of one sweep begin the same."""
        text = self.now_text()
        wanted = (kind, place, text, self.registry.epoch)
        if self._opening is None or wanted != self._opening_of:
            self._opening = Opening(kind, timestamp=text, cursor=self.cursor(place))
            self._opening_of = wanted
        return self._opening.message(data)
