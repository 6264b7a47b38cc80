"""Who is told what: the verdict of each message, and nobody is left with an open alarm (B5)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import orjson
import pytest
from notifiers import BROKEN, GONE, LOST, OK, Bench, a_bench

from daemon.domain.silences import Silence
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio
SEEDS = 40
STEPS = 30


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with a_bench(database) as running:
        yield running


def quiet_now(bench: Bench) -> dict[str, object]:
    """Quiet hours that began an hour ago and end in an hour, or two."""
    hour = bench.now.hour
    return {"start": (hour - 1) % 24, "end": (hour + 2) % 24}


def a_silence(bench: Bench, silence_id: str = "sil_1", **matchers: object) -> Silence:
    return Silence(
        silence_id=silence_id,
        matchers=matchers or {"metric_name": "heat"},
        starts_at=bench.now,
        ends_at=bench.now + timedelta(hours=1),
        comment="",
        created_at=bench.now,
        updated_at=bench.now,
        created_by="test",
    )


async def test_a_firing_and_its_end_are_told_once_each(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    await bench.fire("a1", "hot")
    await bench.turn()
    await bench.end("a1")
    await bench.settle()

    assert [(t.type, t.alerts) for t in bench.told] == [
        ("alert.triggered", [("a1", "active")]),
        ("alert.resolved", [("a1", "resolved")]),
    ]


async def test_an_end_never_overtakes_its_firing(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    bench.answers["ops"] = BROKEN
    await bench.fire("a1", "hot")
    await bench.turn()
    await bench.end("a1")
    await bench.turn()
    bench.answers.clear()
    await bench.settle()

    assert [t.type for t in bench.told] == ["alert.triggered", "alert.resolved"]
    assert bench.told[0].alerts == [("a1", "active")]


async def test_what_fires_in_quiet_hours_waits_for_one_digest_of_what_still_fires(
    bench: Bench,
) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops", quiet=quiet_now(bench))
    for alert in ("a1", "a2", "a3"):
        await bench.fire(alert, "hot")
    await bench.turn()
    await bench.end("a2")
    await bench.acknowledge("a3")
    await bench.turn()
    held = await bench.states(kind="fire")
    bench.advance(hours=3)
    await bench.settle()

    assert held == [("fire", "deferred", "quiet")] * 3
    assert [(t.type, t.alerts) for t in bench.told] == [("alert.digest", [("a1", "active")])]
    assert await bench.states(kind="fire") == [
        ("fire", "sent", "grouped"),
        ("fire", "dropped", "over"),
        ("fire", "dropped", "acknowledged"),
    ]
    assert await bench.states(kind="close") == [("close", "dropped", "not_told")]


async def test_an_end_in_quiet_hours_waits_for_the_digest(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    await bench.fire("a1", "hot")
    await bench.turn()
    await bench.quiet("hot", quiet_now(bench))
    await bench.end("a1")
    await bench.turn()
    before = len(bench.told)
    bench.advance(hours=3)
    await bench.settle()

    assert before == 1
    assert [(t.type, t.alerts) for t in bench.told[1:]] == [("alert.digest", [("a1", "resolved")])]


@pytest.mark.parametrize("level", ["critical", "emergency"])
async def test_what_is_critical_passes_quiet_hours_unless_told_otherwise(
    bench: Bench, level: str
) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops", quiet=quiet_now(bench))
    await bench.fire("a1", "hot", level=level)
    await bench.turn()
    await bench.quiet("hot", quiet_now(bench) | {"include_critical": True})
    await bench.fire("a2", "hot", level=level)
    await bench.turn()

    assert [t.alerts for t in bench.told] == [[("a1", "active")]]


async def test_an_acknowledged_alert_is_told_no_more(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    await bench.fire("a1", "hot")
    await bench.acknowledge("a1")
    await bench.turn()
    await bench.end("a1")
    await bench.settle()

    entry = (await bench.entries(kind="fire"))[0]
    assert bench.told == []
    assert (entry.status, entry.verdict) == ("dropped", "acknowledged")
    assert entry.verdict_data["acknowledged_by"] == "ana"


async def test_a_silence_holds_back_until_it_ends(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    await bench.silences.insert(a_silence(bench, device_id="a*"))
    await bench.fire("a1", "hot")
    await bench.fire("b1", "hot")
    await bench.turn()
    told = list(bench.told)
    entry = (await bench.entries(alert_id="a1"))[0]
    bench.advance(hours=2)
    await bench.settle()

    assert [t.alerts for t in told] == [[("b1", "active")]]
    assert (entry.status, entry.verdict) == ("deferred", "silenced")
    assert entry.verdict_data["silence_id"] == "sil_1"
    assert bench.told[-1].alerts == [("a1", "active")]


async def test_the_end_of_what_was_told_passes_a_silence(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    await bench.fire("a1", "hot")
    await bench.turn()
    await bench.silences.insert(a_silence(bench))
    await bench.end("a1")
    await bench.settle()

    assert [t.type for t in bench.told] == ["alert.triggered", "alert.resolved"]


async def test_an_attempt_without_an_answer_is_followed_by_the_end(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    bench.answers["ops"], bench.reaches = LOST, {"ops"}
    await bench.fire("a1", "hot")
    await bench.turn()
    await bench.acknowledge("a1")
    await bench.end("a1")
    bench.answers.clear()
    await bench.settle()

    assert [t.type for t in bench.told] == ["alert.triggered"] * 2 + ["alert.resolved"]
    assert len({t.id for t in bench.told}) == 2


async def test_a_crash_after_sending_repeats_the_message_with_its_id(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    await bench.fire("a1", "hot")
    await bench.crash_while_sending()
    nothing = await bench.turn()
    bench.advance(seconds=60)
    await bench.turn()

    assert nothing == 0
    assert len(bench.told) == 2
    assert len({t.id for t in bench.told}) == 1


async def test_who_takes_over_hears_of_the_end_and_who_was_not_told_does_not(
    bench: Bench,
) -> None:
    await bench.channel("second")
    await bench.channel("first", fallback="second")
    await bench.rule("hot", "first")
    bench.answers["first"] = GONE
    await bench.fire("a1", "hot")
    await bench.settle()
    await bench.end("a1")
    await bench.settle()

    assert [(t.channel, t.type) for t in bench.told] == [
        ("second", "alert.triggered"),
        ("second", "alert.resolved"),
    ]
    assert await bench.states(channel="first") == [
        ("fire", "dead", "fallback"),
        ("close", "dropped", "fallback"),
    ]


async def test_a_fallback_that_is_told_anyway_is_told_once(bench: Bench) -> None:
    await bench.channel("second")
    await bench.channel("first", fallback="second")
    await bench.rule("hot", "first", "second")
    bench.answers["first"] = GONE
    await bench.fire("a1", "hot")
    await bench.settle()
    await bench.end("a1")
    await bench.settle()

    assert [(t.channel, t.type) for t in bench.told] == [
        ("second", "alert.triggered"),
        ("second", "alert.resolved"),
    ]


async def test_a_dead_digest_is_told_by_the_fallback_one_by_one(bench: Bench) -> None:
    await bench.channel("second")
    await bench.channel("first", fallback="second")
    await bench.rule("hot", "first", quiet=quiet_now(bench))
    bench.answers["first"] = GONE
    await bench.fire("a1", "hot")
    await bench.fire("a2", "hot")
    await bench.turn()
    bench.advance(hours=3)
    await bench.settle()
    await bench.end("a1")
    await bench.settle()

    assert [(t.channel, t.type, t.alerts) for t in bench.told] == [
        ("second", "alert.triggered", [("a1", "active")]),
        ("second", "alert.triggered", [("a2", "active")]),
        ("second", "alert.resolved", [("a1", "resolved")]),
    ]


async def test_replaying_a_dead_digest_tells_the_ends_that_were_left_out(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops", quiet=quiet_now(bench))
    bench.answers["ops"] = GONE
    await bench.fire("a1", "hot")
    await bench.turn()
    bench.advance(hours=3)
    await bench.settle()
    await bench.end("a1")
    await bench.settle()
    digest = (await bench.entries(kind="digest"))[0]
    bench.answers.clear()
    assert await bench.ledger.retry(digest.notification_id, by="test")
    await bench.settle()

    assert digest.status == "dead"
    assert [t.type for t in bench.told] == ["alert.digest", "alert.resolved"]


async def test_a_channel_that_fails_rests_and_one_message_tries_it_again(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    bench.answers["ops"] = BROKEN
    for number in range(8):
        await bench.fire(f"a{number}", "hot")
    await bench.turn()
    failed = (await bench.channels.find(["ops"]))["ops"]
    tried = await bench.turn()
    bench.answers.clear()
    bench.advance(seconds=60)
    again = await bench.turn()
    mended = (await bench.channels.find(["ops"]))["ops"]

    assert failed.failures == 8
    assert failed.open_until is not None
    assert tried == 1
    assert again == 1
    assert (mended.failures, mended.open_until) == (0, None)


async def test_a_slow_channel_holds_up_no_other(bench: Bench) -> None:
    from daemon.store.notifications import Taking

    await bench.channel("slow")
    await bench.channel("fast")
    await bench.rule("hot", "slow", "fast")
    for number in range(10):
        await bench.fire(f"a{number}", "hot")

    jobs, _ = await bench.notifying.take(Taking(16, 4, []))
    more, _ = await bench.notifying.take(Taking(16, 4, ["slow"]))

    assert sorted(job.channel.name for job in jobs) == ["fast"] * 4 + ["slow"] * 4
    assert {job.channel.name for job in more} == {"fast"}


async def test_two_processes_never_send_the_same_message(bench: Bench) -> None:
    import asyncio

    await bench.channel("ops")
    await bench.rule("hot", "ops")
    for number in range(40):
        await bench.fire(f"a{number:02}", "hot")
    async with a_bench(bench.database) as other:
        while any(await asyncio.gather(bench.turn(limit=4), other.turn(limit=4))):
            pass

        ids = [t.id for t in bench.told + other.told]
    assert len(ids) == len(set(ids)) == 40
    assert other.told
    assert bench.told


async def test_a_message_waits_for_the_daemon_that_can_read_the_secret(bench: Bench) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    await bench.run("update telemetry.channel set secrets = $1", bytes(40))
    await bench.fire("a1", "hot")
    bench.store.now = None
    foreign = await bench.turn()
    await bench.run("update telemetry.notification set next_attempt_at = now() - interval '2 min'")
    anyway = await bench.turn()

    assert (foreign, anyway) == (0, 1)
    assert (await bench.entries())[0].last_error is not None


async def test_a_receiver_that_is_down_for_long_loses_nothing_and_gets_all_in_order(
    bench: Bench,
) -> None:
    await bench.channel("ops")
    await bench.rule("hot", "ops")
    bench.answers["ops"] = BROKEN
    for number in range(6):
        await bench.fire(f"a{number}", "hot")
        await bench.turn()
        bench.advance(minutes=4)
        if number % 2:
            await bench.end(f"a{number}")
    bench.answers.clear()
    await bench.settle()

    assert len(bench.told) == len({t.id for t in bench.told}) == 9
    assert stories(bench) == {
        (f"a{n}", "ops"): ["active", "resolved"] if n % 2 else ["active"] for n in range(6)
    }


@pytest.mark.parametrize("why", ["quiet", "silenced"])
async def test_a_watch_is_told_in_its_own_words_or_not_at_all(bench: Bench, why: str) -> None:
    await bench.channel("ops")

    async def fire(watch: str, quiet: object) -> None:
        said = None if quiet is None else orjson.dumps(quiet).decode()
        await bench.run(
            "insert into telemetry.watch (watch_id, owner, device_id, metric_name, quiet_hours,"
            " expires_at) values ($1, 'key_1', 'bike', 'status', $2, now() + interval '1 day')",
            watch, said,
        )  # fmt: skip
        await bench.run(
            "insert into telemetry.notification (notification_id, watch_id, device_id, metric_name,"
            " level, channel, kind, payload, next_attempt_at, idempotency_key) values ($1, $1,"
            " 'bike', 'status', 'info', 'ops', 'fire', $2, now(), $1)",
            watch,
            '{"type": "watch.fired", "title": "bike is free", "message": "bike is free"}',
        )

    await fire("w1", None)
    await bench.turn()
    if why == "silenced":
        await bench.silences.insert(a_silence(bench, device_id="bike"))
    await fire("w2", quiet_now(bench) if why == "quiet" else None)
    await bench.turn()

    assert [(t.type, t.id) for t in bench.told] == [("watch.fired", "w1")]
    assert (await bench.states())[1] == ("fire", "dropped", why)


# -- B5 ------------------------------------------------------------------------------------------


@dataclass
class History:
    """A random life of alerts, silences, quiet hours, bad receivers and a notifier that dies."""

    bench: Bench
    random: random.Random
    open: list[str] = field(default_factory=list)
    silences: list[str] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    async def step(self) -> None:
        steps = (
            *(self.fire, self.end, self.turn) * 3,
            *(self.answer, self.turn, self.retry) * 2,
            *(self.acknowledge, self.silence, self.unsilence, self.quiet, self.loud),
            *(self.bench.crash_while_sending, self.bench.notifying.gather, self.time),
        )
        await self.random.choice(steps)()

    async def fire(self) -> None:
        alert = f"a{next(self.numbers)}"
        level = self.random.choice(["warning", "error", "critical"])
        await self.bench.fire(alert, self.random.choice(["one", "both"]), level=level)
        self.open.append(alert)

    async def end(self) -> None:
        if self.open:
            await self.bench.end(self.open.pop(self.random.randrange(len(self.open))))

    async def acknowledge(self) -> None:
        if self.open:
            await self.bench.acknowledge(self.random.choice(self.open))

    async def silence(self) -> None:
        silence = f"sil_{next(self.numbers)}"
        await self.bench.silences.insert(a_silence(self.bench, silence))
        self.silences.append(silence)

    async def unsilence(self) -> None:
        if self.silences:
            await self.bench.silences.expire(self.silences.pop())

    async def quiet(self) -> None:
        await self.bench.quiet(self.random.choice(["one", "both"]), quiet_now(self.bench))

    async def loud(self) -> None:
        await self.bench.quiet(self.random.choice(["one", "both"]), None)

    async def answer(self) -> None:
        answers = self.bench.answers
        answers[self.random.choice("abc")] = self.random.choice([OK, OK, BROKEN, GONE, LOST])
        # Without an answer it arrived all the same.
        self.bench.reaches = {name for name, said in answers.items() if said is LOST}

    async def turn(self) -> None:
        await self.bench.turn(limit=self.random.choice([1, 16]))

    async def time(self) -> None:
        self.bench.advance(minutes=self.random.choice([1, 10, 90]))

    async def retry(self) -> None:
        if dead := await self.bench.entries(status="dead"):
            message = self.random.choice(dead)
            await self.bench.ledger.retry(message.notification_id, by="test")

    async def finish(self) -> None:
        """Everything works again, and every alert ends."""
        self.bench.answers.clear()
        self.bench.advance(hours=30)
        for alert in self.open:
            await self.bench.end(alert)
        await self.bench.settle()
        self.bench.advance(hours=30)
        await self.bench.settle()


def stories(bench: Bench) -> dict[tuple[str, str], list[str]]:
    """What each recipient heard of each alert; repeats of one message count once."""
    found: dict[tuple[str, str], list[str]] = {}
    seen = set()
    for told in bench.told:
        if (told.channel, told.id) in seen:
            continue
        seen.add((told.channel, told.id))
        for alert, status in told.alerts:
            found.setdefault((alert, told.channel), []).append(status)
    return found


async def test_everybody_who_was_told_of_a_firing_is_told_of_its_end_once(
    database: Database,
) -> None:
    heard = 0
    for seed in range(SEEDS):
        async with a_bench(database) as bench:
            await bench.run(
                "truncate telemetry.notification, telemetry.alert, telemetry.alert_rule,"
                " telemetry.channel, telemetry.silence cascade"
            )
            for channel, fallback in (("c", None), ("b", "c"), ("a", "b")):
                await bench.channel(channel, fallback=fallback)
            await bench.rule("one", "a")
            await bench.rule("both", "a", "b")
            history = History(bench, random.Random(seed))
            for _ in range(STEPS):
                await history.step()
            await history.finish()

            for key, story in stories(bench).items():
                assert story == ["active", "resolved"], f"seed {seed}: {key} heard {story}"
            waiting = await bench.store.waiting()
            assert waiting == {"pending": 0, "deferred": 0}, f"seed {seed}: {waiting}"
            heard += len(stories(bench))
    assert heard > SEEDS
