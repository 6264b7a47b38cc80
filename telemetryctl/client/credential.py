"""What a client shows the server: a key for good, or a login's token that another one follows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

Renew = Callable[[str], str | None]
"""From a token that was refused to a newer one; None when there is none. May raise Failure."""


@dataclass(slots=True)
class Credential:
    """Shared by all connections of a command, so that what one of them renews all of them use."""

    token: str | None = field(default=None, repr=False)
    renew: Renew | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def header(self) -> dict[str, str]:
        """The header of a request; nothing without a token."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def is_renewed(self, refused: str | None) -> bool:
        """Whether there is another token by now than the one that was refused. Raises Failure."""
        with self._lock:
            if self.token != refused:
                return True
            newer = self.renew(refused) if self.renew is not None and refused else None
            if newer is None or newer == refused:
                return False
            self.token = newer
            return True
