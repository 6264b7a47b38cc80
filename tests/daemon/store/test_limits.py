"""Budgets in the database: what all daemons together may take, counted as one process would."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from daemon.domain.budgets import Policy, RateClass
from daemon.domain.errors import Unstorable
from daemon.domain.sliding_window import SLOT_S, SlidingWindow
from daemon.store.limits import LimitStore, Taking
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio
HOURLY = Policy(RateClass.QUERY, "free", 20)
POINTS = Policy(RateClass.INGEST, "free", 100, 1)
"""One a second comes back, so that what a slow test waits for is little of it."""


@pytest.fixture
def store(database: Database) -> LimitStore:
    return LimitStore(database)


async def pass_time(database: Database, slots: int) -> None:
    """Let what was taken be so many half minutes older."""
    async with database.connection("control") as connection:
        await connection.execute(
            "update telemetry.budget set slots = array(select s - $1::int4 from unnest(slots) s),"
            " changed_at = changed_at - make_interval(secs => 30 * $1::int4)",
            slots,
        )


async def slot_now(database: Database) -> int:
    async with database.connection("control") as connection:
        return int(
            await connection.fetchval("select extract(epoch from clock_timestamp())::int8 / 30")
        )


async def test_the_budget_is_given_once_however_many_ask(store: LimitStore) -> None:
    grants = await asyncio.gather(
        *(store.take(Taking("key_1", HOURLY, need=1, want=1)) for _ in range(50))
    )

    assert sum(grant.granted for grant in grants) == 20
    assert min(grant.left_over for grant in grants) == 0
    assert all(3_590 <= grant.wait_s <= 3_630 for grant in grants)


async def test_budgets_of_other_keys_and_classes_are_others(store: LimitStore) -> None:
    control = Policy(RateClass.CONTROL, "free", 20)
    await store.take(Taking("key_1", HOURLY, want=20))

    assert (await store.take(Taking("key_2", HOURLY, want=20))).granted == 20
    assert (await store.take(Taking("key_1", control, want=20))).granted == 20
    assert (await store.take(Taking("key_1", HOURLY, want=20))).granted == 0


async def test_it_counts_as_the_sliding_window_does(store: LimitStore, database: Database) -> None:
    for _ in range(3):
        window, now_s, chance = SlidingWindow(), 30_000_000.0, random.Random(7)
        began = await slot_now(database)
        found, expected = [], []
        for turn in range(60):
            want, slots = chance.randint(0, 6), chance.choice([0, 0, 1, 10, 60, 119, 120, 121])
            grant = await store.take(Taking(f"key_{began}", HOURLY, want=want))
            granted = min(want, HOURLY.limit - window.used(now_s))
            window.add(granted, now_s)
            found.append((turn, grant.granted, grant.left_over))
            expected.append((turn, granted, HOURLY.limit - window.used(now_s)))
            await pass_time(database, slots)
            now_s += slots * SLOT_S
        if await slot_now(database) == began:
            break

    assert found == expected


async def test_what_is_given_back_is_there_for_others(
    store: LimitStore, database: Database
) -> None:
    await store.take(Taking("key_1", HOURLY, want=5))
    await pass_time(database, 2)
    await store.take(Taking("key_1", HOURLY, want=15))
    await store.settle([Taking("key_1", HOURLY, owed=-17)])

    grant = await store.take(Taking("key_1", HOURLY, want=20))
    assert grant.granted == 17


async def test_what_was_let_in_without_asking_is_counted_afterwards(store: LimitStore) -> None:
    await store.take(Taking("key_1", HOURLY, want=15))
    grant = await store.take(Taking("key_1", HOURLY, want=3, owed=10))

    assert (grant.granted, grant.left_over) == (0, 0)


async def test_points_come_back_with_time(store: LimitStore, database: Database) -> None:
    began_s = time.monotonic()
    first = await store.take(Taking("key_1", POINTS, need=100, want=100))
    second = await store.take(Taking("key_1", POINTS, need=50, want=50))
    took_s = time.monotonic() - began_s
    await pass_time(database, 4)
    third = await store.take(Taking("key_1", POINTS, need=50, want=500))

    assert (first.granted, second.granted, third.granted) == (100, 0, 100)
    assert 50 - took_s <= second.wait_s <= 50
    assert 99 <= third.wait_s <= 100


async def test_more_than_the_bucket_holds_is_taken_from_a_full_one_and_paid_for_later(
    store: LimitStore, database: Database
) -> None:
    large = Taking("key_1", POINTS, need=400, want=400)
    began_s = time.monotonic()
    assert (await store.take(large)).granted == 400
    await pass_time(database, 8)

    grant = await store.take(Taking("key_1", POINTS, need=1, want=1))
    assert grant.granted == 0
    assert 61 - (time.monotonic() - began_s) <= grant.wait_s <= 61
    assert (await store.take(large)).granted == 0


async def test_many_are_settled_all_or_none(database: Database, store: LimitStore) -> None:
    takings = [Taking(f"key_{n}", policy, owed=17) for n in (1, 2) for policy in (HOURLY, POINTS)]
    async with database.connection("control") as connection:
        await connection.execute(
            "alter table telemetry.budget add constraint fails check (subject <> 'key_2')"
        )
    with pytest.raises(Unstorable):
        await store.settle(takings)
    async with database.connection("control") as connection:
        await connection.execute("alter table telemetry.budget drop constraint fails")

    assert (await store.take(Taking("key_1", HOURLY))).left_over == 20
    assert (await store.take(Taking("key_1", POINTS))).left_over == 100
    began_s = time.monotonic()
    await store.settle(takings)
    assert (await store.take(Taking("key_1", HOURLY))).left_over == 3
    left = (await store.take(Taking("key_2", POINTS))).left_over
    assert 83 <= left <= 83 + time.monotonic() - began_s


# -- what makers of keys pay for -----------------------------------------------------------------

WIDER = Policy(RateClass.QUERY, "pro", 50)
MORE = Policy(RateClass.INGEST, "pro", 300, 1)


async def left_of(store: LimitStore, subject: str, policy: Policy) -> int:
    return (await store.take(Taking(subject, policy))).left_over


async def test_what_a_made_key_takes_its_maker_pays(store: LimitStore) -> None:
    payers = (("maker", WIDER),)

    grant = await store.take(Taking("made", HOURLY, want=15, payers=payers))

    assert (grant.granted, grant.left_over) == (15, 5)
    assert await left_of(store, "made", HOURLY) == 5
    assert await left_of(store, "maker", WIDER) == 35


async def test_no_number_of_made_keys_gets_more_than_their_maker(store: LimitStore) -> None:
    grants = await asyncio.gather(
        *(
            store.take(Taking(f"made_{n}", HOURLY, want=20, payers=(("maker", WIDER),)))
            for n in range(8)
        )
    )

    assert sum(grant.granted for grant in grants) == 50
    assert await left_of(store, "maker", WIDER) == 0
    # What the maker did not have was not taken of theirs either.
    assert sum([await left_of(store, f"made_{n}", HOURLY) for n in range(8)]) == 8 * 20 - 50


async def test_a_made_key_gets_no_more_than_its_own_and_gives_the_rest_back(
    store: LimitStore,
) -> None:
    payers = (("root", Policy(RateClass.QUERY, "enterprise", 500)), ("maker", WIDER))

    grant = await store.take(Taking("made", HOURLY, want=40, payers=payers))

    assert (grant.granted, grant.left_over) == (20, 0)
    assert await left_of(store, "maker", WIDER) == 30
    assert await left_of(store, "root", payers[0][1]) == 480


async def test_what_was_let_in_alone_or_is_given_back_counts_for_both(store: LimitStore) -> None:
    payers = (("maker", WIDER),)
    await store.settle([Taking("made", HOURLY, owed=12, payers=payers)])
    await store.settle([Taking("made", HOURLY, owed=-2, payers=payers)])

    assert await left_of(store, "made", HOURLY) == 10
    assert await left_of(store, "maker", WIDER) == 40


async def test_points_are_paid_for_too_and_nothing_is_taken_where_one_has_too_few(
    store: LimitStore,
) -> None:
    payers = (("maker", MORE),)
    began_s = time.monotonic()
    grants = [
        await store.take(Taking(f"made_{n}", POINTS, need=90, want=100, payers=payers))
        for n in range(4)
    ]
    enough = await store.take(Taking("maker", MORE))
    took_s = time.monotonic() - began_s

    assert [grant.granted >= 90 for grant in grants] == [True, True, True, False]
    assert sum(grant.granted for grant in grants) + enough.left_over <= 300 + took_s
    # The last one's own budget is whole, and it waits for its maker's.
    assert await left_of(store, "made_3", POINTS) == 100
    assert 90 - took_s <= grants[3].wait_s <= 90


async def test_families_that_settle_at_once_do_not_wait_for_each_other(store: LimitStore) -> None:
    """Each takes rows of several makers and of what they made, in one transaction."""
    control = Policy(RateClass.CONTROL, "pro", 50)
    budgets = [
        Taking(f"made_{maker}_{made}", policy, owed=1, payers=((f"maker_{maker}", wide),))
        for maker in range(4)
        for made in range(4)
        for policy, wide in ((HOURLY, WIDER), (control, control), (POINTS, MORE))
    ] + [
        Taking(f"maker_{maker}", policy, owed=1)
        for maker in range(4)
        for policy in (WIDER, control, MORE)
    ]

    async def settle(seed: int) -> None:
        shuffled = random.Random(seed).sample(budgets, len(budgets))
        for _ in range(4):
            await store.settle(shuffled)

    async with asyncio.timeout(120):
        await asyncio.gather(*(settle(seed) for seed in range(4)))

    assert await left_of(store, "maker_0", control) == max(50 - 16 * 5, 0)
