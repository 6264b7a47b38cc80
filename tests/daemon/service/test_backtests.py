"""A backtest says what a live run did: on real telemetry, against the evaluator and an oracle."""

from __future__ import annotations

import csv
import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alert_oracle import episodes_of
from evaluators import Bench, a_bench
from stacks import ADMIN, NOW_US

from daemon.clock import as_datetime, as_us
from daemon.domain.access import Principal
from daemon.domain.alerts import Episode, Sample
from daemon.domain.errors import Forbidden, Invalid, NotFound
from daemon.domain.rule_request import engine_rule, new_rule
from daemon.service.backtests import BACKTEST, BacktestRequest, Backtests, make_backtests
from daemon.service.jobs import Jobs
from daemon.service.rule_facts import RuleFacts
from daemon.service.rules import Rules
from daemon.store.jobs import JobStore
from daemon.store.pool import Database
from daemon.store.rules import RuleStore

pytestmark = pytest.mark.anyio

S = 1_000_000
SHARED = Path(__file__).parents[4] / "shared" / "data"
FILES = sorted([*SHARED.glob("servers/*.csv.gz"), *SHARED.glob("plant/*.csv.gz")])
needs_shared_data = pytest.mark.skipif(not FILES, reason="the data is not beside us")
BATCH = 10_000


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with a_bench(database) as made:
        yield made


def backtests_of(bench: Bench) -> Backtests:
    stack, store = bench.stack, RuleStore(bench.database)
    facts = RuleFacts(store, registry=stack.registry, head=stack.head)
    rules = Rules(store, facts=facts, clock=stack.clock)
    return make_backtests(
        bench.database, tail=stack.tail, rules=rules, facts=facts, clock=stack.clock
    )


def jobs_of(bench: Bench, backtests: Backtests) -> Jobs:
    return Jobs(
        JobStore(bench.database),
        handlers={BACKTEST: backtests},
        holder=bench.stack.journal.writer,
        clock=bench.stack.clock,
    )


async def result_of(
    bench: Bench, request: BacktestRequest, *, by: Principal = ADMIN
) -> dict[str, Any]:
    """The result of a backtest that was queued and done as a job."""
    backtests = backtests_of(bench)
    jobs = jobs_of(bench, backtests)
    params = await backtests.params(request, by=by)
    job_id = await jobs.create(BACKTEST, params, device_id=None, by=by)
    assert await jobs.do_next()
    job = await jobs.show(job_id, by=by)
    assert job.state == "done", job.error
    result: dict[str, Any] = job.result
    return result


def a_request(rule: dict[str, Any], **fields: Any) -> BacktestRequest:
    defaults: dict[str, Any] = {
        "rule_id": None, "start_us": NOW_US - 85 * 86_400 * S, "end_us": NOW_US + 1,
        "settings": {},
    }  # fmt: skip
    return BacktestRequest(rule, **defaults | fields)


def real_samples(file: Path) -> list[tuple[int, float]]:
    """(time, value) of a file, each time once, shifted so that the last one is now; the newest 80
    days of it, since older points would not be kept."""
    found: dict[int, float] = {}
    with gzip.open(file, "rt") as text:
        for row in csv.DictReader(text):
            stamp = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
            found[as_us(stamp)] = float(row["value"])
    last_us = max(found)
    return sorted(
        (NOW_US - last_us + time_us, value)
        for time_us, value in found.items()
        if time_us > last_us - 80 * 86_400 * S
    )


def rules_for(values: list[float]) -> list[dict[str, Any]]:
    """Rules that fire now and then on such values, with each of the words that decide."""
    high, low, middle = np.quantile(values, [0.97, 0.03, 0.9]).tolist()
    return [
        {"condition": ">", "threshold_value": high, "cooldown_minutes": 0},
        {"condition": ">=", "threshold_value": middle, "evaluation_window": 1800,
         "trigger_count": 3, "auto_resolve_timeout": 900, "cooldown_minutes": 120},
        {"condition": "<", "threshold_value": low, "for": 600, "cooldown_minutes": 30},
        {"condition": ">", "threshold_value": high, "resolve_threshold": middle,
         "auto_resolve_timeout": 1200},
    ]  # fmt: skip


async def send(bench: Bench, samples: list[tuple[int, float]]) -> None:
    for at in range(0, len(samples), BATCH):
        part = samples[at : at + BATCH]
        columns = {
            "device_id": "oven",
            "metric_name": "temperature",
            "timestamps": [time_us for time_us, _ in part],
            "values": [value for _, value in part],
        }
        answer = await bench.stack.post("/columns", {"series": [columns]})
        assert answer.json()["failed_count"] == 0, answer.text
        await bench.judge()


def episodes_in(alerts: list[dict[str, Any]], *, until: str) -> list[Episode]:
    def us(text: str | None) -> int | None:
        return None if text is None else as_us(datetime.fromisoformat(text))

    return [Episode(us(a["event_time"]) or 0, us(a[until])) for a in alerts]


@needs_shared_data
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_live_alerts_backtest_and_oracle_agree_on_real_data(bench: Bench, file: Path) -> None:
    history = real_samples(file)
    rules = rules_for([value for _, value in history])
    for number, fields in enumerate(rules):
        await bench.rule(name=f"rule {number}", **fields)

    await send(bench, history)

    for number, fields in enumerate(rules):
        live = await bench.rows(
            "select event_time, resolved_event_time from telemetry.alert"
            f" where rule_name = 'rule {number}' order by event_time"
        )
        lived = [
            Episode(as_us(a["event_time"]),
                    a["resolved_event_time"] and as_us(a["resolved_event_time"]))
            for a in live
        ]  # fmt: skip
        asked = {"name": "hot", "metric_name": "temperature"} | fields
        result = await result_of(bench, a_request(asked))
        stored = new_rule(asked, rule_id="r", now=as_datetime(NOW_US), by="test")
        expected = episodes_of(
            engine_rule(stored), [Sample(time_us, value, time_us) for time_us, value in history]
        )
        assert lived == expected
        assert episodes_in(result["alerts"], until="resolved_at") == expected
        assert result["summary"]["alerts"] == len(expected)


HOT = {"metric_name": "temperature", "condition": ">", "threshold_value": 90}


async def test_candidates_are_compared(bench: Bench) -> None:
    await bench.send(50, 95, 99, at_s=-1000)
    await bench.stack.tail.turn()

    result = await result_of(bench, a_request(HOT, settings={"threshold_value": [40, 96, 100]}))

    counts = [(c["set"], c["summary"]["alerts"]) for c in result["candidates"]]
    assert counts == [
        ({"threshold_value": 40}, 1),
        ({"threshold_value": 96}, 1),
        ({"threshold_value": 100}, 0),
    ]


async def test_a_metric_that_the_asker_does_not_see_is_one_that_nobody_sends(bench: Bench) -> None:
    await bench.send(50, 95, 99, at_s=-1000)
    await bench.stack.tail.turn()
    reader = Principal("key_reader", "reader", frozenset({"read"}), metrics=("speed", "absent"))

    hidden = await result_of(bench, a_request(HOT), by=reader)
    absent = await result_of(bench, a_request(HOT | {"metric_name": "absent"}), by=reader)
    seen = await result_of(bench, a_request(HOT), by=replace(reader, metrics=("temp*",)))

    assert hidden == absent
    assert len(seen["alerts"]) == 1


async def test_as_arrived_judges_late_points_as_they_came(bench: Bench) -> None:
    rule = HOT | {"evaluation_window": 60, "trigger_count": 2, "cooldown_minutes": 0}
    fields: dict[str, Any] = {n: value for n, value in rule.items() if n != "metric_name"}
    await bench.rule(**fields)
    await bench.send(95, at_s=-500)
    await bench.send(1, at_s=-400)
    await bench.judge()
    await bench.send(95, at_s=-900)
    await bench.send(95, at_s=-890)
    await bench.judge()
    start_us = as_us(datetime.now(UTC)) - 3600 * S
    bench.stack.clock.advance_s((start_us + 7200 * S - NOW_US) / S)

    asked = a_request(rule, start_us=start_us, end_us=start_us + 7200 * S, as_arrived=True)
    result = await result_of(bench, asked)

    live = await bench.alerts()
    assert len(result["alerts"]) == len(live)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_us": NOW_US, "end_us": NOW_US},
        {"settings": {"threshold_value": list(range(101))}},
        {"settings": {"metric_name": ["a", "b"]}},
        {"rule_id": "rul_x"},
    ],
)
async def test_what_can_not_be_tested_is_refused(bench: Bench, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await backtests_of(bench).params(a_request(HOT, **wrong), by=ADMIN)


async def test_a_stored_rule_that_is_not_there_is_not_found(bench: Bench) -> None:
    asked = BacktestRequest(None, "rul_gone", 0, NOW_US, {})

    with pytest.raises(NotFound):
        await backtests_of(bench).params(asked, by=ADMIN)


async def test_a_job_of_a_process_that_died_is_taken_by_another(bench: Bench) -> None:
    backtests = backtests_of(bench)
    jobs = jobs_of(bench, backtests)
    params = await backtests.params(a_request(HOT), by=ADMIN)
    job_id = await jobs.create(BACKTEST, params, device_id=None, by=ADMIN)
    store = JobStore(bench.database)
    assert await store.claim(bench.stack.journal.writer, hold_s=0.0) is not None

    assert await jobs.do_next()

    assert (await jobs.show(job_id, by=ADMIN)).state == "done"


async def test_a_cancelled_job_stays_so(bench: Bench) -> None:
    backtests = backtests_of(bench)
    jobs = jobs_of(bench, backtests)
    params = await backtests.params(a_request(HOT), by=ADMIN)
    job_id = await jobs.create(BACKTEST, params, device_id=None, by=ADMIN)

    await jobs.cancel(job_id, by=ADMIN)

    assert not await jobs.do_next()
    job = await jobs.show(job_id, by=ADMIN)
    assert (job.state, job.error and job.error["code"]) == ("failed", "cancelled")


async def test_a_job_is_cancelled_by_its_owner_or_an_administrator(bench: Bench) -> None:
    backtests = backtests_of(bench)
    jobs = jobs_of(bench, backtests)
    params = await backtests.params(a_request(HOT), by=ADMIN)
    reader = Principal("key_reader", "reader", frozenset({"read"}))
    bound = replace(reader, key_id="key_bound", devices=("other",))
    own = await jobs.create(BACKTEST, params, device_id=None, by=bound)
    job_id = await jobs.create(BACKTEST, params, device_id=None, by=ADMIN)

    with pytest.raises(Forbidden):
        await jobs.cancel(job_id, by=reader)
    with pytest.raises(NotFound):
        await jobs.cancel(job_id, by=bound)
    await jobs.cancel(own, by=bound)

    assert (await jobs.show(job_id, by=reader)).state == "queued"


async def test_what_fired_before_the_window_counts_as_firing_and_not_as_an_alert(
    bench: Bench,
) -> None:
    rule = HOT | {"auto_resolve_timeout": 3_600}
    await bench.send(95, at_s=-2_000)
    await bench.send(95, at_s=-100, device="other")

    result = await result_of(bench, a_request(rule, start_us=NOW_US - 1_000 * S))

    (candidate,) = result["candidates"]
    assert [alert["device_id"] for alert in result["alerts"]] == ["other"]
    assert (candidate["summary"]["open_at_end"], candidate["firing_at_end"]) == (1, 2)
