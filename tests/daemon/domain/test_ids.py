"""Ids sort by time, and nobody guesses another's (S-38)."""

from __future__ import annotations

from daemon.domain.ids import CROCKFORD, new_id

NOW_US = 1_766_059_200_000_000


def test_a_later_id_sorts_behind() -> None:
    ids = [new_id("alr", now_us=NOW_US + at * 1000) for at in range(100)]

    assert ids == sorted(ids)


def test_of_one_moment_eighty_bits_are_chance() -> None:
    ids = [new_id("sub", now_us=NOW_US) for _ in range(4_000)]
    chance = [one.removeprefix("sub_")[10:] for one in ids]

    assert {len(text) for text in chance} == {16}
    for at in range(16):
        # Each of the 32 digits would be missing once in 10**55 runs.
        assert {text[at] for text in chance} == set(CROCKFORD)
    assert len(set(ids)) == len(ids)
