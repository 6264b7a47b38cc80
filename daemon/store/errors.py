"""Translates what asyncpg raises into the daemon's own errors, in one place (reliability: G-4,
error classes)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from daemon.domain.errors import (
    BatchStored,
    Busy,
    CatalogStale,
    DomainError,
    OutcomeUnknown,
    StorageFull,
    StoreUnavailable,
    Unstorable,
)

# 53300 too many connections, 55P03 lock not available, 57014 query canceled, 40001/40P01
# serialization and deadlock; 28000/28P01 and 3D000 while a password is changed or a database is
# restored under the daemon.
_RETRYABLE_STATES = frozenset(
    {"53300", "55P03", "57014", "40001", "40P01", "57P01", "57P02", "57P03"}
    | {"28000", "28P01", "3D000"}
)
# 23514 check violation, 21000 cardinality violation; with all of class 22 (data) and 54 (limits).
_UNSTORABLE_STATES = frozenset({"23514", "21000"})
_LOST = (
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    ConnectionError,
    OSError,
    TimeoutError,
)


def translated(error: BaseException, *, writing: bool = False) -> DomainError | None:
    """The domain error for a driver error, or None when it is not the database's doing.

    `writing` says that a lost connection leaves the outcome unknown.
    """
    if isinstance(error, asyncpg.PostgresError):
        return _from_state(error, error.sqlstate or "", writing=writing)
    if isinstance(error, _LOST):
        return OutcomeUnknown() if writing else StoreUnavailable()
    return None


def _from_state(error: asyncpg.PostgresError, state: str, *, writing: bool) -> DomainError | None:
    if state == "TL001":
        return CatalogStale()
    if state == "TL002":
        return BatchStored()
    if state == "23503":
        return Busy("a device was deleted meanwhile")
    if state == "23514" and error.constraint_name is None:
        # Not a check that failed: the journal has no partition for now, and will have one.
        return StoreUnavailable()
    if state == "53100":
        return StorageFull(retry_after_s=10)
    if state in _RETRYABLE_STATES or state.startswith("53"):
        return StoreUnavailable()
    if state.startswith("08"):
        return OutcomeUnknown() if writing else StoreUnavailable()
    if state.startswith(("22", "54")) or state in _UNSTORABLE_STATES:
        return Unstorable()
    return None


@contextmanager
def translating(*, writing: bool = False) -> Iterator[None]:
    """Raises domain errors instead of the driver's; the driver's stays as the cause."""
    try:
        yield
    except DomainError:
        raise
    except Exception as error:
        domain_error = translated(error, writing=writing)
        if domain_error is None:
            raise
        raise domain_error from error
