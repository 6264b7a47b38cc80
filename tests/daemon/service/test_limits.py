"""What a process does with the budgets it shares: asks seldom, gives back, and counts alone when
nobody answers."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Callable, Sequence
from ipaddress import ip_network

import pytest

from daemon.clock import ManualClock, SystemClock
from daemon.domain.access import Principal
from daemon.domain.budgets import UNLIMITED, Payer, RateClass, Standing, TierNumbers, policies_of
from daemon.domain.errors import RateLimited
from daemon.service import limits as limits_module
from daemon.service.budget import Budget
from daemon.service.limits import Limits, LimitSettings
from daemon.store.limits import Grant, LimitStore, Taking
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio

FREE = Principal("key_1", "free", frozenset({"read"}), "free")
PRO = Principal("key_2", "pro", frozenset({"read"}), "pro")
ENTERPRISE = Principal("key_3", "enterprise", frozenset({"read"}), "enterprise")
SETTINGS = LimitSettings(
    {
        "free": TierNumbers(query_per_hour=20, control_per_hour=5, points_per_s=10),
        "pro": TierNumbers(query_per_hour=1_000, control_per_hour=50, points_per_s=1_000),
        "enterprise": TierNumbers(),
    },
    anonymous_per_hour=3,
    refused_per_hour=5,
)
HERE = "192.0.2.1"


class CountingStore(LimitStore):
    """The real one; it says how often it was asked."""

    asked = 0

    async def take(self, taking: Taking) -> Grant:
        self.asked += 1
        return await super().take(taking)

    async def settle(self, takings: Sequence[Taking]) -> None:
        self.asked += len(takings)
        await super().settle(takings)


class BusyStore(LimitStore):
    """The real one; while it is asked, single points take what is held."""

    meanwhile: Callable[[], object]

    async def take(self, taking: Taking) -> Grant:
        grant = await super().take(taking)
        self.meanwhile()
        return grant


def a_process(database: Database, settings: LimitSettings = SETTINGS) -> tuple[Limits, ManualClock]:
    clock = ManualClock(SystemClock().now_us())
    return Limits(CountingStore(database), clock=clock, settings=settings), clock


def asked(limits: Limits) -> int:
    store = limits._store
    assert isinstance(store, CountingStore)
    return store.asked


async def accepted(limits: Limits, principal: Principal, times: int) -> int:
    """How many of so many queries at once are let in."""

    async def ask() -> bool:
        try:
            await limits.take(principal, RateClass.QUERY, address=HERE)
        except RateLimited:
            return False
        return True

    return sum(await asyncio.gather(*(ask() for _ in range(times))))


async def test_500_at_once_get_no_more_than_the_limit(database: Database) -> None:
    limits, _ = a_process(database)

    assert await accepted(limits, FREE, 500) == 20
    assert asked(limits) < 10


async def test_asking_where_a_key_stands_takes_nothing(database: Database) -> None:
    (asking, _), (busy, _) = a_process(database), a_process(database)
    await busy.take(PRO, RateClass.QUERY, address=HERE)

    told = {one.policy: one.remaining for one in await asking.standings(PRO, address=HERE)}
    policies = policies_of(SETTINGS.tiers)
    assert told[policies["pro", RateClass.QUERY]] == 990
    assert told[policies["pro", RateClass.INGEST]] == 10_000
    assert await accepted(busy, PRO, 1_200) == 999


async def test_processes_share_one_budget(database: Database) -> None:
    processes = [a_process(database)[0] for _ in range(4)]

    found = await asyncio.gather(*(accepted(limits, PRO, 400) for limits in processes))

    assert 950 <= sum(found) <= 1_050


async def test_the_database_is_asked_for_a_hundredth_at_a_time(database: Database) -> None:
    limits, _ = a_process(database)
    for _ in range(500):
        await limits.take(PRO, RateClass.QUERY, address=HERE)

    assert asked(limits) <= 55


async def test_who_has_no_limit_is_never_asked_for(database: Database) -> None:
    limits, _ = a_process(database)

    everything = limits.take_now(ENTERPRISE, RateClass.INGEST, address=HERE, amount=100_000)
    assert everything is UNLIMITED
    assert await limits.take(ENTERPRISE, RateClass.QUERY, address=HERE) is UNLIMITED
    assert asked(limits) == len(limits) == 0


async def test_a_tier_that_nobody_knows_is_the_least(database: Database) -> None:
    limits, _ = a_process(database)
    gold = Principal("key_4", "gold", frozenset({"read"}), "gold")

    assert await accepted(limits, gold, 100) == 20


async def test_what_is_used_up_is_not_asked_for_again_at_once(database: Database) -> None:
    limits, clock = a_process(database)
    await accepted(limits, FREE, 30)
    before = asked(limits)
    await accepted(limits, FREE, 1_000)
    assert asked(limits) == before

    clock.advance_s(11)
    await accepted(limits, FREE, 1_000)
    assert asked(limits) == before + 1
    assert limits.refused["query", "free"] == 10 + 2_000


async def test_an_idle_process_gives_back_what_it_took(database: Database) -> None:
    (idle, clock), (busy, _) = a_process(database), a_process(database)
    await idle.take(PRO, RateClass.QUERY, address=HERE)
    clock.advance_s(6)
    await idle.settle()
    before = asked(idle)
    await idle.settle()

    assert await accepted(busy, PRO, 1_200) == 999
    assert asked(idle) == before


async def test_a_process_that_ends_gives_back_at_once(database: Database) -> None:
    (idle, _), (busy, _) = a_process(database), a_process(database)
    await idle.take(PRO, RateClass.QUERY, address=HERE)
    await idle.settle(is_last=True)

    assert await accepted(busy, PRO, 1_200) == 999


async def test_without_the_database_each_process_keeps_the_limit_alone(dsn: str) -> None:
    away = Database(dsn)
    limits, clock = a_process(away)

    assert await accepted(limits, FREE, 100) == 20
    assert await accepted(limits, FREE, 100) == 0
    clock.advance_s(3_640)
    assert await accepted(limits, FREE, 100) == 20


async def test_what_was_let_in_alone_is_told_when_the_database_is_back(dsn: str) -> None:
    database = Database(dsn)
    (limits, clock), (other, _) = a_process(database), a_process(database)
    assert await accepted(limits, FREE, 15) == 15
    await database.open()
    try:
        clock.advance_s(6)
        await limits.settle()

        assert await accepted(other, FREE, 100) == 5
    finally:
        await database.close()


async def test_a_long_outage_is_no_debt_for_as_long(dsn: str) -> None:
    database = Database(dsn)
    limits, clock = a_process(database)
    for _ in range(200):
        await limits.take(FREE, RateClass.INGEST, address=HERE, amount=100)
        clock.advance_s(10)
    await accepted(limits, FREE, 10)
    clock.advance_s(3_700)
    await database.open()
    try:
        await limits.settle()
        store = LimitStore(database)
        free = TierNumbers(query_per_hour=20, points_per_s=10)
        policies = policies_of({"free": free})
        points, queries = policies["free", RateClass.INGEST], policies["free", RateClass.QUERY]

        assert (await store.take(Taking("key_1", points))).wait_s <= 20
        assert (await store.take(Taking("key_1", queries))).left_over == 20
    finally:
        await database.close()


async def test_points_are_counted_by_number_and_come_back(database: Database) -> None:
    limits, _ = a_process(database)

    async def send(points: int) -> None:
        await limits.take(FREE, RateClass.INGEST, address=HERE, amount=points)

    began_s = time.monotonic()
    await send(60)
    await send(40)
    with pytest.raises(RateLimited) as refused:
        await send(100)

    # Ten points come back in a second.
    assert 10 - (time.monotonic() - began_s) <= refused.value.retry_after_s <= 10
    assert refused.value.standing is not None
    assert refused.value.standing.policy is not None
    assert refused.value.standing.policy.limit == 100


async def test_a_body_larger_than_the_bucket_passes_when_it_is_full(database: Database) -> None:
    limits, _ = a_process(database)
    began_s = time.monotonic()
    await limits.take(FREE, RateClass.INGEST, address=HERE, amount=1_000)

    with pytest.raises(RateLimited) as refused:
        await limits.take(FREE, RateClass.INGEST, address=HERE)
    assert 91 - (time.monotonic() - began_s) <= refused.value.retry_after_s <= 91


async def test_an_address_is_limited_by_its_network(database: Database) -> None:
    limits, _ = a_process(database)
    for last in range(3):
        await limits.take_of_address(f"2001:db8::{last}")
    with pytest.raises(RateLimited):
        await limits.take_of_address("2001:db8::ffff")

    await limits.take_of_address("2001:db8:0:1::1")


async def test_nobody_in_an_exempt_network_is_limited(database: Database) -> None:
    settings = LimitSettings(SETTINGS.tiers, 3, 5, (ip_network("192.0.2.0/24"),))
    limits, _ = a_process(database, settings)

    assert await accepted(limits, FREE, 100) == 100
    for _ in range(10):
        assert await limits.take_of_address("192.0.2.77") is UNLIMITED
        assert await limits.refuse_credential("192.0.2.77") is UNLIMITED


async def test_exempt_networks_make_nobody_else_slower(database: Database) -> None:
    settings = LimitSettings(SETTINGS.tiers, 3, 5, (ip_network("198.51.100.0/24"),))
    limits, _ = a_process(database, settings)
    await limits.take(PRO, RateClass.QUERY, address=HERE)

    others = limits.take_now(PRO, RateClass.QUERY, address=HERE)
    assert others is not None
    assert limits.take_now(PRO, RateClass.QUERY, address="198.51.100.7") is UNLIMITED
    limits.give_back(PRO, RateClass.QUERY, address="198.51.100.7")
    limits.configure(SETTINGS)
    then = limits.take_now(PRO, RateClass.QUERY, address="198.51.100.7")
    assert then is not None
    assert then.remaining == others.remaining - 1


async def test_who_keeps_a_budget_looks_again_after_a_reload_and_when_it_was_forgotten(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "ENTRIES_MAX", 2)
    limits, _ = a_process(database)

    def held(who: Principal) -> Budget | None:
        return limits.held_by(who, RateClass.QUERY, address=HERE)

    first = held(PRO)
    assert first is not None
    assert first.is_held
    limits.configure(SETTINGS)
    assert not first.is_held
    assert held(PRO) is first
    assert first.is_held
    more = {"pro": TierNumbers(query_per_hour=2_000), "enterprise": TierNumbers()}
    limits.configure(LimitSettings(SETTINGS.tiers | more))
    second = held(PRO)
    assert second is not None
    assert (first.is_held, second.is_held, second.policy.limit) == (False, True, 2_000)
    for number in range(2):
        held(Principal(f"key_other_{number}", "other", frozenset({"read"}), "free"))
    assert not second.is_held
    limits.configure(LimitSettings(SETTINGS.tiers, exempt=(ip_network("192.0.2.0/24"),)))
    assert held(PRO) is None
    assert held(ENTERPRISE) is None


async def test_a_million_addresses_need_neither_memory_nor_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "ENTRIES_MAX", 1_000)
    limits, clock = a_process(database)
    before = asked(limits)
    tracemalloc.start()
    try:
        for number in range(5_000):
            address = f"2001:db8:{number:x}::1"
            await limits.take_of_address(address)
            await limits.refuse_credential(address)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(limits) == 1_000
    # For the 10,000 that are remembered in earnest.
    assert size * 10 < 20_000_000
    assert asked(limits) - before <= limits_module.ADDRESSES_ASKED_PER_S
    clock.advance_s(1)


async def test_a_process_that_ends_gives_back_everything(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "SETTLED_AT_ONCE_MAX", 1)
    (idle, _), (busy, _) = a_process(database), a_process(database)
    others = [Principal(f"key_{n}", "p", frozenset({"read"}), "pro") for n in range(10, 13)]
    for principal in others:
        await idle.take(principal, RateClass.QUERY, address=HERE)
    await idle.settle(is_last=True)

    for principal in others:
        assert await accepted(busy, principal, 1_200) == 999


async def test_a_batch_gets_its_points_though_single_ones_take_what_is_held(
    database: Database,
) -> None:
    store = BusyStore(database)
    store.meanwhile = lambda: None
    limits = Limits(store, clock=ManualClock(SystemClock().now_us()), settings=SETTINGS)
    await limits.take(PRO, RateClass.INGEST, address=HERE)
    taken: list[Standing | None] = []
    store.meanwhile = lambda: taken.extend(
        limits.take_now(PRO, RateClass.INGEST, address=HERE) for _ in range(50)
    )
    await limits.take(PRO, RateClass.INGEST, address=HERE, amount=2_000)

    assert len(taken) >= 50
    assert None not in taken


# -- keys that keys made -------------------------------------------------------------------------


async def test_keys_of_one_maker_share_its_number_in_every_process(database: Database) -> None:
    one, other = a_process(database)[0], a_process(database)[0]
    payers = (Payer("key_maker", "pro"),)
    made = [Principal(f"made_{n}", "m", frozenset(), "pro", payers=payers) for n in range(3)]

    found = await asyncio.gather(
        *(accepted(limits, principal, 300) for limits in (one, other) for principal in made)
    )

    # What a process holds for a key is missed by the others: a hundredth each.
    assert 950 <= sum(found) <= 1_000


async def test_a_made_key_of_a_lower_tier_has_its_own_number(database: Database) -> None:
    limits, _ = a_process(database)
    child = Principal("child", "c", frozenset(), "free", payers=(Payer("key_2", "pro"),))

    assert await accepted(limits, child, 50) == 20
    assert 960 <= await accepted(limits, PRO, 1_100) <= 980


async def test_a_maker_without_a_limit_pays_nothing(database: Database) -> None:
    limits, _ = a_process(database)
    payers = (Payer("key_3", "enterprise"),)
    made = [Principal(f"made_{n}", "m", frozenset(), "free", payers=payers) for n in range(3)]

    assert [await accepted(limits, one, 50) for one in made] == [20, 20, 20]


async def test_a_maker_gets_a_limit_with_the_settings(database: Database) -> None:
    limits, _ = a_process(database)
    child = Principal("child", "c", frozenset(), "free", payers=(Payer("key_3", "enterprise"),))
    await limits.take(child, RateClass.QUERY, address=HERE)
    tiers = dict(SETTINGS.tiers) | {"enterprise": TierNumbers(query_per_hour=5)}
    limits.configure(LimitSettings(tiers))

    assert await accepted(limits, child, 50) == 5


# -- some of what is wanted ----------------------------------------------------------------------


async def test_as_much_is_taken_as_there_is(database: Database) -> None:
    one, other = a_process(database)[0], a_process(database)[0]

    async def some(limits: Limits, amount: int, principal: Principal = FREE) -> int:
        return await limits.take_some(principal, RateClass.QUERY, address=HERE, amount=amount)

    assert [await some(one, 12), await some(other, 12)] == [12, 8]
    assert [await some(one, 1), await some(other, 100)] == [0, 0]
    assert await some(one, 100, ENTERPRISE) == 100
    other.give_back(FREE, RateClass.QUERY, address=HERE, amount=3)
    assert await some(other, 5) == 3
