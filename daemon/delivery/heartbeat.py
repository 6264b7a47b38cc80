"""Tells a monitor outside that this daemon goes on; it raises the alarm when it no longer hears so
(a dead man's switch, as healthchecks.io or Alertmanager's watchdog know it)."""

from __future__ import annotations

from urllib.parse import urlsplit

from daemon.delivery.outbound import Outbound
from daemon.log import get_logger

TIMEOUT_S = 5.0

log = get_logger()


class Heartbeat:
    """The operator has chosen the address: it may be inside, and without TLS. It may be a secret,
    so that nothing of it is logged."""

    def __init__(self, url: str) -> None:
        self._url = url
        host = urlsplit(url).hostname
        self._outbound = Outbound((host,) if host else (), timeout_s=TIMEOUT_S)
        self._is_heard = True

    async def beat(self) -> None:
        """One POST without a body; failing is logged once, and so is its end."""
        outcome = await self._outbound.post(self._url, b"")
        if outcome.is_sent != self._is_heard:
            self._is_heard = outcome.is_sent
            if outcome.is_sent:
                log.info("heartbeat_heard")
            else:
                log.warning("heartbeat_not_heard", reason=outcome.detail)
