"""What a client shows the server: a key for good, or a login's token that another one follows; and
the signature of each request, where the key wants one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from telemetryctl.client.signing import Signer, signer_of

if TYPE_CHECKING:
    from pathlib import Path

    from telemetryctl.client.lean import httpx
    from telemetryctl.config import Token

Renew = Callable[[str], str | None]
"""From a token that was refused to a newer one; None when there is none. May raise Failure."""


@dataclass(slots=True)
class Credential:
    """Shared by all connections of a command, so that what one of them renews all of them use."""

    token: str | None = field(default=None, repr=False)
    renew: Renew | None = field(default=None, repr=False)
    signer: Signer | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def put_on(self, request: httpx.Request) -> None:
        """Let the request show the token, if there is one, and sign it as it is now."""
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        if self.signer is not None:
            self.signer.sign(request)

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


def credential_of(token: Token | None, *, signing_key_file: Path | None) -> Credential:
    """What a server is shown: the token, and of a key its signatures.

    Raises ConfigurationFailure.
    """
    credential = Credential(token.value if token else None)
    if token is not None and token.key_id is not None and signing_key_file is not None:
        credential.signer = signer_of(signing_key_file, key_id=token.key_id)
    return credential
