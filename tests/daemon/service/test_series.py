"""Reads of series: pages cover each row once, buckets are right wherever the points lie."""

from __future__ import annotations

import pytest
from history_builder import NOON_US, READER, a_history, points

from daemon.domain.access import Principal
from daemon.domain.aggregates import Aggregation
from daemon.domain.errors import Invalid
from daemon.domain.page_cursors import PageCursor, parse_page_cursor
from daemon.live.head import Head
from daemon.service.series import PointQuery, PooledQuery, Series
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio
S = 1_000_000
HOUR_US = 3600 * S
START_US = NOON_US - 2 * HOUR_US


def a_query(**changes: object) -> PointQuery:
    base: dict[str, object] = {"metrics": ("speed",), "start_us": START_US, "end_us": NOON_US}
    return PointQuery(**(base | changes))  # type: ignore[arg-type]


@pytest.fixture
def head() -> Head:
    head = Head()
    head.append(1, points(*[(1 + i % 2, START_US + i // 2 * 60 * S, float(i)) for i in range(20)]))
    head.append(2, points((3, START_US, 1.0), (4, START_US, "42"), (4, START_US + S, "43")))
    return head


@pytest.fixture
def series(database: Database, head: Head) -> Series:
    return Series(a_history(database, head=head))


async def test_points_come_by_time_then_device(series: Series) -> None:
    page = await series.query(READER, a_query())

    names = [page.names[i].device_id for i in page.block.series_ids.tolist()]
    assert page.block.numbers.tolist() == [float(i) for i in range(20)]
    assert names == ["bus-1", "bus-2"] * 10
    assert (page.device_id, page.metric_name, page.next_cursor) == (None, "speed", None)
    counts = [(name.device_id, count) for name, count in page.counts]
    assert counts == [("bus-1", 10), ("bus-2", 10)]


@pytest.mark.parametrize("limit", [1, 3, 7, 19, 20, 21])
async def test_pages_cover_each_point_once(series: Series, limit: int) -> None:
    values: list[float] = []
    cursor: PageCursor | None = None
    while True:
        page = await series.query(READER, a_query(limit=limit, cursor=cursor))
        values += page.block.numbers.tolist()
        if page.next_cursor is None:
            break
        cursor = parse_page_cursor(page.next_cursor)

    assert values == [float(i) for i in range(20)]


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_pages_cover_each_bucket_once(series: Series, limit: int) -> None:
    found: list[tuple[int, str, float]] = []
    cursor: PageCursor | None = None
    while True:
        page = await series.query(
            READER,
            a_query(limit=limit, cursor=cursor, aggregation=Aggregation.SUM, interval_s=300),
        )
        rows = zip(page.block.times_us, page.block.series_ids, page.block.numbers, strict=True)
        found += [(int(t), page.names[int(i)].device_id, float(v)) for t, i, v in rows]
        if page.next_cursor is None:
            break
        cursor = parse_page_cursor(page.next_cursor)

    assert found == [
        (START_US, "bus-1", 0.0 + 2 + 4 + 6 + 8),
        (START_US, "bus-2", 1.0 + 3 + 5 + 7 + 9),
        (START_US + 300 * S, "bus-1", 10.0 + 12 + 14 + 16 + 18),
        (START_US + 300 * S, "bus-2", 11.0 + 13 + 15 + 17 + 19),
    ]


async def test_a_strict_query_is_refused_when_cut_short(series: Series) -> None:
    with pytest.raises(Invalid) as refused:
        await series.query(READER, a_query(limit=5, is_strict=True))

    assert refused.value.error_code == "truncated"


async def test_the_range_is_half_open(series: Series) -> None:
    page = await series.query(READER, a_query(end_us=START_US + 60 * S))

    assert page.block.numbers.tolist() == [0.0, 1.0]


async def test_one_aggregation_without_interval_is_one_bucket_a_series(series: Series) -> None:
    page = await series.query(READER, a_query(aggregation=Aggregation.COUNT, start_us=START_US + S))

    assert page.block.times_us.tolist() == [START_US + S] * 2
    assert page.block.numbers.tolist() == [9.0, 9.0]


async def test_only_points_with_all_tags_are_found(series: Series, head: Head) -> None:
    tagged = b'{"tags":{"line":"7","depot":"east"},"unit":"mph"}'
    head.append(3, points((1, START_US + 2 * S, 99.0), context=tagged))

    one = await series.query(READER, a_query(tags={"line": "7"}))
    none = await series.query(READER, a_query(tags={"line": "7", "depot": "west"}))
    total = await series.query(
        READER, a_query(tags={"line": "7"}, aggregation=Aggregation.SUM, interval_s=3600)
    )

    assert one.block.numbers.tolist() == [99.0]
    assert len(none.block) == 0
    assert total.block.numbers.tolist() == [99.0]


async def test_what_a_key_may_not_see_is_absent(series: Series) -> None:
    narrow = Principal("key_2", "narrow", frozenset({"read"}), devices=("bus-2",))

    page = await series.query(narrow, a_query())
    pooled = await series.pooled(
        narrow, PooledQuery("speed", Aggregation.COUNT, 3600, START_US, NOON_US)
    )

    assert {page.names[i].device_id for i in page.block.series_ids.tolist()} == {"bus-2"}
    assert pooled.aggregated.values.tolist() == [10.0]
    assert series.metrics_of(narrow, "bus-1") == []
    assert series.metrics_of(READER, "bus-1") == ["door", "route", "speed"]


async def test_the_past_beyond_retention_is_not_shown(series: Series, head: Head) -> None:
    day_us = 24 * HOUR_US
    cut_us = NOON_US - 90 * day_us
    head.append(4, points((1, cut_us - S, 1.0), (1, cut_us, 2.0), (1, cut_us + S, 3.0)))
    wide = a_query(start_us=cut_us - day_us, end_us=cut_us + day_us)

    raw = await series.query(READER, wide)
    total = await series.query(
        READER,
        a_query(
            start_us=cut_us - day_us,
            end_us=cut_us + day_us,
            aggregation=Aggregation.SUM,
            interval_s=86_400,
        ),
    )

    assert raw.block.numbers.tolist() == [2.0, 3.0]
    assert total.block.numbers.tolist() == [5.0]


async def test_devices_are_pooled(series: Series) -> None:
    found = await series.pooled(
        READER, PooledQuery("speed", Aggregation.MEDIAN, 300, START_US, NOON_US)
    )

    assert found.starts_us.tolist() == [START_US, START_US + 300 * S]
    assert found.aggregated.values.tolist() == [4.5, 14.5]
    assert found.aggregated.counts.tolist() == [10, 10]


async def test_first_and_last_of_several_devices_go_by_time(series: Series) -> None:
    first = await series.pooled(
        READER, PooledQuery("speed", Aggregation.FIRST, 3600, START_US, NOON_US)
    )
    last = await series.pooled(
        READER, PooledQuery("speed", Aggregation.LAST, 3600, START_US, NOON_US)
    )

    assert (first.aggregated.values.tolist(), last.aggregated.values.tolist()) == ([0.0], [19.0])


async def test_booleans_count_as_0_and_1_and_text_only_counts(series: Series) -> None:
    whole = {"aggregation": Aggregation.AVG, "interval_s": 3600}
    door = await series.query(READER, a_query(metrics=("door",), **whole))
    route = await series.query(READER, a_query(metrics=("route",), **whole))
    count = await series.query(
        READER, a_query(metrics=("route",), aggregation=Aggregation.COUNT, interval_s=3600)
    )

    assert door.block.numbers.tolist() == [1.0]
    assert len(route.block) == 0
    assert count.block.numbers.tolist() == [2.0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"end_us": START_US}, "bad_range"),
        ({"interval_s": 60}, "interval_alone"),
        (
            {"aggregation": Aggregation.P95, "interval_s": 1, "start_us": 0},
            "too_many_buckets",
        ),
    ],
)
async def test_the_impossible_is_refused(
    series: Series, changes: dict[str, object], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await series.query(READER, a_query(**changes))

    assert refused.value.error_code == code


async def test_a_range_without_end_costs_no_buckets(series: Series) -> None:
    page = await series.query(
        READER,
        a_query(start_us=0, end_us=2**57, aggregation=Aggregation.SUM, interval_s=3600),
    )

    assert page.block.numbers.sum() == sum(range(20))


async def test_unknown_devices_and_metrics_are_an_empty_answer(series: Series) -> None:
    page = await series.query(READER, a_query(devices=("nobody",), metrics=("nothing",)))

    assert len(page.block) == 0
    assert (page.device_id, page.metric_name) == ("nobody", "nothing")


async def test_a_star_asks_for_every_metric(series: Series) -> None:
    page = await series.query(READER, a_query(metrics=("*",)))
    named = await series.query(READER, a_query(metrics=("*", "speed")))

    metrics = {page.names[i].metric_name for i in page.block.series_ids.tolist()}
    assert len(metrics) > 1
    assert len(page.block) == len(named.block) == 23
    assert page.metric_name is None


async def test_a_star_shows_no_metric_that_the_key_may_not_see(series: Series) -> None:
    who = Principal("key_1", "one", frozenset({"read"}), metrics=("speed",))

    page = await series.query(who, a_query(metrics=("*",)))

    assert len(page.block) == 20
