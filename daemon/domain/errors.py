"""Every error the daemon means: one tree; what it becomes over HTTP is decided in transport.

DomainError
├── Refused            the request can't be done as it stands
│   ├── Malformed      a path or query value, or the whole body, can't be read
│   ├── Invalid        well-formed, but impossible
│   ├── TooLarge  UnsupportedEncoding  NotFound  Conflict  Stale
│   └── Unauthenticated  Forbidden
└── TryLater           nothing is wrong with the request
    ├── Busy  StoreUnavailable (NewEpoch)  OutcomeUnknown  StorageFull
    └── RateLimited    too many requests of this key or address
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from daemon.domain.budgets import Standing


class DomainError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.error_code = code or type(self).code
        super().__init__(self.detail)


class Refused(DomainError):
    """The request was refused."""

    code = "refused"


class Malformed(Refused):
    """The request can't be read."""

    code = "malformed"


class Invalid(Refused):
    """The request is well-formed but impossible.

    `errors` lists what is wrong where: `{"pointer", "code", "detail"}`; `members` are further
    members of the answer.
    """

    code = "invalid"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: Sequence[dict[str, Any]] = (),
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, code=code)
        self.errors = list(errors)
        self.members = members or {}


class Unstorable(Invalid):
    """The database can't store a value of the request."""

    code = "bad_value"


class TooLarge(Refused):
    """The request is larger than the limit."""

    code = "too_large"


class UnsupportedEncoding(Refused):
    """The content encoding is not one of gzip, zstd and lz4.

    `taken` are those that the route takes.
    """

    code = "unsupported_encoding"

    def __init__(self, detail: str | None = None, *, taken: str = "identity") -> None:
        super().__init__(detail)
        self.taken = taken


class NotFound(Refused):
    """There is no such thing."""

    code = "not_found"


class Conflict(Refused):
    """The name is taken, or the state does not allow it."""

    code = "conflict"


class Stale(Refused):
    """It was changed since it was read; read it again."""

    code = "precondition_failed"


class Unauthenticated(Refused):
    """A valid API key is needed."""

    code = "unauthenticated"


class Forbidden(Refused):
    """The key does not carry the scope this needs."""

    code = "forbidden"


class TryLater(DomainError):
    """Not now; the same request may work later.

    `retry_after_s` is a hint in seconds.
    """

    code = "unavailable"

    def __init__(
        self, detail: str | None = None, *, code: str | None = None, retry_after_s: int = 1
    ) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class Busy(TryLater):
    """Too much is waiting already."""

    code = "busy"


class RateLimited(TryLater):
    """Too much was asked for in too short a time.

    `standing` is where who asked stands, if it is a budget that was used up.
    """

    code = "rate_limited"
    standing: Standing | None = None


class StoreUnavailable(TryLater):
    """The database can't be reached."""

    code = "database_unavailable"


class NewEpoch(StoreUnavailable):
    """The database was restored; the daemon begins anew with what it holds."""

    code = "new_epoch"


class OutcomeUnknown(TryLater):
    """The connection was lost during the commit; whether it happened is unknown, and a repeat is
    safe."""

    code = "outcome_unknown"


class StorageFull(TryLater):
    """The disk of the database is full."""

    code = "storage_full"


class CatalogStale(DomainError):
    """A series or definition changed since this process read the catalogue."""

    code = "catalog_stale"


class BatchStored(DomainError):
    """Another transaction has stored a batch id of this group."""

    code = "batch_stored"


class LeaseLost(DomainError):
    """Another daemon holds the lease; what was about to be written was not."""

    code = "lease_lost"
