"""Which points of a request a key may write: the others are refused by themselves, unless they are
all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.domain.access import Principal
from daemon.domain.errors import Forbidden
from daemon.domain.points import Draft, is_name
from daemon.transport.values import refuse_rows


def refuse_unseen(principal: Principal, drafts: Sequence[Draft]) -> None:
    """Refuse the points of devices and metrics that the key does not see (code `forbidden`); no
    series is made for them.

    Raises Forbidden when there are no others.
    """
    if principal.sees_everything:
        return
    unseen = [_unseen_keys(principal, draft) for draft in drafts]
    if not any(unseen):
        return
    if all(len(keys) == len(draft.devices) for draft, keys in zip(drafts, unseen, strict=True)):
        raise Forbidden("the key may not write to a device or metric of this request")
    for draft, keys in zip(drafts, unseen, strict=True):
        rows = np.flatnonzero(np.isin(draft.key_of, np.array(keys, np.int32)))
        why = "the key may not write to this device or metric"
        refuse_rows(draft, rows.tolist(), why, code="forbidden")


def _unseen_keys(principal: Principal, draft: Draft) -> list[int]:
    """Keys of the draft whose device or metric the key does not see; what can be no name is said to
    be none, by who admits it."""
    return [
        key
        for key, (device_id, metric_name) in enumerate(
            zip(draft.devices, draft.metrics, strict=True)
        )
        if not (principal.sees_device(device_id) or not is_name(device_id))
        or not (principal.sees_metric(metric_name) or not is_name(metric_name))
    ]
