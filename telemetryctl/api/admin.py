"""What an administrator asks of the whole installation."""

from typing import Literal

from telemetryctl.api.model import Answer, Instant


class JournalPartition(Answer):
    """One hour of the journal, which begins at `start_time`; `bytes` with its indexes."""

    name: str
    start_time: Instant
    state: Literal["ahead", "current", "behind"]
    bytes: int


class PartitionList(Answer):
    """Oldest first. `kept_after` is the position up to which every follower has read."""

    partitions: list[JournalPartition]
    total_bytes: int
    kept_after: int


class RetentionRun(Answer):
    """Housekeeping was asked to work now; what it does is in its log and in the figures."""

    requested: bool
