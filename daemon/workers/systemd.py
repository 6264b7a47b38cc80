"""What the service manager is told (man 3 sd_notify); nothing when none asked."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from daemon.log import get_logger

log = get_logger()


class ServiceManager:
    """Sends datagrams to `$NOTIFY_SOCKET`; `watchdog_s` is how often it wants to hear, or None."""

    def __init__(self, address: str = "", *, watchdog_s: float | None = None) -> None:
        # A name that starts with @ is abstract: it is no file, and starts with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """The one of this process; the words are taken out, so that no child speaks for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_ours = usec.isdigit() and pid in ("", str(os.getpid()))
        return cls(address, watchdog_s=int(usec) / 1e6 if is_ours and address else None)

    def ready(self) -> None:
        self._tell("READY=1")

    def reloading(self) -> None:
        """Reload begins; `ready` ends it. systemd 253 wants to know when it began."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={usec}")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def extend_timeout(self, by_s: float) -> None:
        """The start, or the end, that is under way may take so much longer, counted from now. It is
        to be said again before that is over; what the unit allows by itself is never cut."""
        self._tell(f"EXTEND_TIMEOUT_USEC={round(by_s * 1e6)}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def _tell(self, words: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.setblocking(False)
                told.sendto(words.encode(), self._address)
        except OSError as error:
            log.warning("service_manager_not_told", error=error.strerror, words=words)
