"""Ten thousand seeds of the simulated alert engine keep its invariants.

Each protection that is taken out breaks one.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import pytest
from alert_simulation import CHUNK, Tables, broken_seeds, run

from daemon.domain import alerts
from daemon.domain.rules import Rule
from daemon.service.evaluation import Evaluation
from daemon.service.turns import Pair, Plan, Turn

SEEDS = 10_000
CONTROL_SEEDS = 5_000


@pytest.mark.timeout(600)
def test_ten_thousand_seeds_keep_the_invariants() -> None:
    # Forked while a thread of another test holds a lock, a child would wait for it for ever.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        reports = [
            report for chunk in pool.map(broken_seeds, range(0, SEEDS, CHUNK)) for report in chunk
        ]

    assert reports == []


def test_the_same_seed_gives_the_same_run() -> None:
    assert [run(seed) for seed in range(50)] == [run(seed) for seed in range(50)]


class TestWithAProtectionTakenOut:
    def broken(self) -> bool:
        return any(broken_seeds(first) for first in range(0, CONTROL_SEEDS, CHUNK))

    def test_an_evaluator_that_is_not_fenced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        commit = Tables.commit

        def unfenced(self: Tables, turn: Turn, *, epoch: int, **said: Any) -> bool:
            del epoch
            return commit(self, turn, epoch=self.epoch, **said | {"revisions": {}})

        monkeypatch.setattr(Tables, "commit", unfenced)

        assert self.broken()

    def test_a_memory_that_is_changed_before_the_commit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        judge = Evaluation.judge

        def judge_and_accept(self: Evaluation, plan: Plan, histories: Any) -> Turn:
            turn = judge(self, plan, histories)
            self.accept(turn)
            return turn

        monkeypatch.setattr(Evaluation, "judge", judge_and_accept)

        assert self.broken()

    def test_a_cooldown_that_is_forgotten_at_a_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_past = Evaluation.set_past

        def without_times(self: Evaluation, pair: Pair, episodes: Any) -> None:
            set_past(self, pair, episodes)
            self._last_fired_us.pop(pair)

        monkeypatch.setattr(Evaluation, "set_past", without_times)

        assert self.broken()

    def test_windows_that_are_not_read_at_a_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Rule, "remembers", property(lambda rule: False))

        assert self.broken()

    def test_a_hold_time_that_does_not_break(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fire_if_due = alerts._fire_if_due

        def at_once(run: Any, time_us: int) -> None:
            run.rule = replace(run.rule, hold_us=0)
            fire_if_due(run, time_us)

        monkeypatch.setattr(alerts, "_fire_if_due", at_once)

        assert self.broken()
