"""What a stored key stands for, and until when. Who asks is decided in service/keys."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from itertools import starmap

from daemon.clock import as_datetime
from daemon.domain.access import Principal
from daemon.domain.budgets import Payer
from daemon.domain.key_request import KeyRequest
from daemon.store.keys import KeyRow, NewKey

ACCEPTED_FOR_S = 5.0
"""A key that was revoked elsewhere is accepted no longer than this."""


def accepted_for_s(row: KeyRow, digest: bytes, now: datetime) -> float:
    """How long this process may accept the digest for this key without asking again.

    0 when it is not its own.
    """
    ends = [now + timedelta(seconds=ACCEPTED_FOR_S)]
    if row.expires_at is not None:
        ends.append(row.expires_at)
    # Both are compared always, so that the time taken tells nothing of which secret was near.
    is_present = hmac.compare_digest(digest, row.secret_hash)
    is_former = hmac.compare_digest(digest, row.former_hash or bytes(32))
    if not is_present:
        if not is_former or row.former_valid_until is None:
            return 0.0
        ends.append(row.former_valid_until)
    return (min(ends) - now).total_seconds()


def is_former(row: KeyRow, digest: bytes) -> bool:
    """Whether an accepted digest is of the secret before the last rotation."""
    return not hmac.compare_digest(digest, row.secret_hash)


def former_until(row: KeyRow, digest: bytes | None) -> datetime | None:
    """Until when that secret is accepted, if an accepted digest is of it."""
    return row.former_valid_until if digest is not None and is_former(row, digest) else None


def ends_at(row: KeyRow, digest: bytes | None) -> datetime | None:
    """When the secret is good no longer: with its key, or, a former one, with its overlap."""
    if digest is None or not is_former(row, digest):
        return row.expires_at
    ends = [one for one in (row.expires_at, row.former_valid_until) if one is not None]
    return min(ends, default=None)


def signing_key_of(row: KeyRow, digest: bytes | None) -> bytes | None:
    """What its requests are signed with: those with a former secret with the former one."""
    if digest is not None and is_former(row, digest):
        return row.former_signing_key
    return row.signing_key


def ends_within(expires_at: datetime | None, by: Principal) -> bool:
    """Whether what ends then ends no later than the credential of the asker."""
    return by.ends_at is None or (expires_at is not None and expires_at <= by.ends_at)


def is_alive(row: KeyRow, digest: bytes | None, now: datetime) -> bool:
    if digest is None:
        return row.expires_at is None or row.expires_at > now
    return accepted_for_s(row, digest, now) > 0


def principal_of_row(row: KeyRow) -> Principal:
    payers = zip(row.payers, row.payer_tiers, strict=True)
    return Principal(
        row.key_id, row.name, frozenset(row.scopes), row.tier, row.devices, row.groups, row.metrics,
        payers=tuple(starmap(Payer, payers)),
    )  # fmt: skip


def row_of(
    wanted: KeyRequest, key_id: str, digest: bytes, *, env: str, by: str, now_us: int
) -> NewKey:
    lifetime = wanted.lifetime
    return NewKey(
        key_id,
        wanted.name,
        env,
        digest,
        list(dict.fromkeys(wanted.scopes)),
        wanted.tier,
        wanted.devices,
        wanted.groups,
        wanted.metrics,
        by,
        None if lifetime is None else as_datetime(now_us) + lifetime,
        wanted.signing_key,
    )
