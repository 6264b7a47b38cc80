"""A batch id and what a repeat of it is told. Storing it is store/journal's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch id to store with its block: `scope` is key and path, `answer` what a repeat gets."""

    scope: str
    batch_id: str
    payload_hash: bytes
    answer: bytes
