"""Which requests have to be signed, and what of them: the rule for holders of keys.

A key with a signing key comes with a signature on every request, so that its bearer alone is of no
use to who finds it. What a signature is stands in domain/signatures.
"""

from __future__ import annotations

from collections.abc import Collection

from daemon.clock import Clock
from daemon.domain import signatures
from daemon.domain.access import Principal
from daemon.domain.errors import Unauthenticated
from daemon.domain.signatures import Head, SignatureInvalid, SignatureRequired, Signer
from daemon.service.failure_log import FailureLog


class Signatures:
    """Checks those of a process's requests, and logs what it refuses."""

    def __init__(self, clock: Clock, failures: FailureLog) -> None:
        self._clock = clock
        self._failures = failures

    def check(
        self, principal: Principal, head: Head, *, required: Collection[str], address: str
    ) -> None:
        """Raises SignatureRequired, SignatureInvalid; a key without a signing key has no right
        signature."""
        now_s = self._clock.now_us() / 1_000_000
        try:
            if principal.signing_key is None:
                # Who signs believes that it is checked.
                raise SignatureInvalid("this key was made without a signing key")
            signer = Signer(principal.key_id, principal.signing_key)
            signatures.check(head, signer, required=required, now_s=now_s)
        except Unauthenticated as error:
            self._log(error, principal, address)
            raise

    def refuse_unsigned(self, principal: Principal, *, address: str) -> None:
        """For ways in that can't be signed. Raises SignatureRequired for a key that signs."""
        if principal.signing_key is not None:
            error = SignatureRequired("this key is shown by a signed request only")
            self._log(error, principal, address)
            raise error

    def _log(self, error: Unauthenticated, principal: Principal, address: str) -> None:
        self._failures.log(error.error_code, key_id=principal.key_id, address=address)
