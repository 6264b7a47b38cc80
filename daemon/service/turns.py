"""What one turn of the evaluator needs and decides: between its memory and the tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from daemon.domain.alerts import PairState, Sample, Transition
from daemon.domain.block import Int64s
from daemon.service.rule_index import BoundRule

Pair = tuple[str, int]
"""Rule id and series id."""
WIDE = -1
"""In place of a series id, where an alert is about many."""


@dataclass(frozen=True, slots=True)
class Need:
    """Stored samples of a pair that a judgement asks for: `[from_us, to_us)`, in order, and the
    newest `before` of those before `from_us`."""

    pair: Pair
    from_us: int
    to_us: int
    before: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """One transition of one pair; `alert_id` is new for a firing, else that of the open alert.

    With `over` it is an alert that late samples show to have come and gone. `scope` and `group_id`
    say what is silent (domain/absence), `inputs` what decided it, where the transition does not;
    `arrived_us` is when the deciding sample came.
    """

    bound: BoundRule
    series_id: int
    device_id: str
    alert_id: str
    transition: Transition
    over: Transition | None = None
    scope: str = "metric"
    group_id: str | None = None
    inputs: dict[str, Any] | None = None
    arrived_us: int | None = None


@dataclass(slots=True)
class Plan:
    """The samples of a block that some rule asks about, by series, and the pairs to judge.

    `late` are those that are not newer than what was judged before; `newest` is what will be.
    """

    samples: dict[int, list[Sample]] = field(default_factory=dict)
    late: dict[int, list[Sample]] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    newest: tuple[Int64s, Int64s] | None = None


@dataclass(slots=True)
class Turn:
    """What a plan or a tick decided; `states` of None are idle, `too_late` counts per pair."""

    decisions: list[Decision] = field(default_factory=list)
    states: dict[Pair, PairState | None] = field(default_factory=dict)
    too_late: dict[Pair, int] = field(default_factory=dict)
    newest: tuple[Int64s, Int64s] | None = None
