"""A thing is said seldom, and what is remembered of it is bounded."""

from __future__ import annotations

from daemon.domain.occasions import Seldom


def test_each_thing_is_due_once_in_its_time() -> None:
    seldom = Seldom(every_s=60, entries_max=10)

    assert [seldom.is_due("one", now_s) for now_s in (0, 30, 59, 60, 61)] == [
        True, False, False, True, False,
    ]  # fmt: skip
    assert seldom.is_due("other", 61)


def test_the_one_said_longest_ago_is_forgotten() -> None:
    seldom = Seldom(every_s=60, entries_max=2)

    assert all(seldom.is_due(what, 0) for what in ("one", "two", "three"))
    assert not seldom.is_due("three", 1)
    assert seldom.is_due("one", 1)
