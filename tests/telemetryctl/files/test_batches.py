"""Points gathered into bodies."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.files.batches import Batch, Bounds, batches, refusals_in, requests_of
from telemetryctl.files.binding import bind
from telemetryctl.files.mapping import Constants, parse_mapping
from telemetryctl.files.points import Json, Point, Refusal, Row

NOW_US = 1_766_052_000_000_000
BOUNDS = Bounds(points_max=10, bytes_max=1 << 20)
BINDING = bind(parse_mapping([]), ("timestamp", "device", "value"), Constants(metric="m"))


def rows(count: int) -> Iterator[tuple[int, Row | Refusal]]:
    for i in range(count):
        yield i + 2, [f"{1766052000 + i}", f"d{i % 3}", f"{i}"]


def a_point(value: object = 1.0, *, tags: tuple[tuple[str, str], ...] = (), line: int = 2) -> Point:
    return Point("d", "m", NOW_US, value, None, tags, line)  # type: ignore[arg-type]


@given(st.integers(0, 60), st.integers(0, 60))
def test_every_row_is_in_exactly_one_batch_wherever_reading_begins(count: int, skip: int) -> None:
    found = list(batches(rows(count), BINDING, bounds=BOUNDS, skip_rows=skip))

    spans = [(batch.row_from, batch.row_to) for batch in found]
    covered = [row for first, after in spans for row in range(first, after)]
    assert covered == list(range(skip, count))
    assert all(batch.points <= 10 for batch in found)


def test_the_same_rows_make_the_same_bodies_again() -> None:
    first = [requests_of(b, prefix="p") for b in batches(rows(40), BINDING, bounds=BOUNDS)]
    again = [
        requests_of(b, prefix="p") for b in batches(rows(40), BINDING, bounds=BOUNDS, skip_rows=20)
    ]

    assert first[2:] == again
    assert [r.batch_id for part in first for r in part] == [
        "p-0-10-c",
        "p-10-20-c",
        "p-20-30-c",
        "p-30-40-c",
    ]


def test_numbers_and_texts_are_columns_and_the_rest_rows() -> None:
    batch = Batch(0, 5)
    values = [1.5, "text", True, {"lat": 1, "lon": 2}]
    for line, value in enumerate(values, start=2):
        batch.add(a_point(value, line=line))
    batch.add(a_point(2.5, line=6)._replace(metadata={"sensor": "A7"}))

    columns, bulk = requests_of(batch, prefix="p")

    assert columns.body["series"] == [
        {
            "device_id": "d",
            "metric_name": "m",
            "timestamps": [NOW_US, NOW_US],
            "values": [1.5, "text"],
        }
    ]
    assert bulk.kind == "bulk"
    assert bulk.lines == {"d": [4, 5, 6]}
    assert bulk.body["d"][2] == {  # type: ignore[index]
        "timestamp": "2025-12-18T10:00:00Z",
        "metric_name": "m",
        "value": 2.5,
        "metadata": {"sensor": "A7"},
    }


def test_the_last_row_of_a_stamp_is_also_the_last_of_the_body() -> None:
    batch = Batch(0, 3)
    for value, room in ((1, "a"), (2, "b"), (3, "a")):
        batch.add(a_point(value, tags=(("room", room),)))

    body = requests_of(batch, prefix="p")[0].body

    assert [(s["tags"], s["values"]) for s in body["series"]] == [  # type: ignore[union-attr, index, call-overload]
        ({"room": "a"}, [1]),
        ({"room": "b"}, [2]),
        ({"room": "a"}, [3]),
    ]


def test_large_texts_end_a_batch_early() -> None:
    large = (
        (i, ["1766052000", "d", "ä" * 1000]) for i in range(2, 12)
    )  # 4 bytes a character at most

    found = list(batches(iter(large), BINDING, bounds=Bounds(1000, 10_000)))

    assert [batch.row_to - batch.row_from for batch in found] == [3, 3, 3, 1]


def test_refusals_are_traced_back_to_their_lines() -> None:
    batch = Batch(0, 4)
    for line in (2, 3):
        batch.add(a_point(1.0, line=line))
        batch.add(a_point(True, line=line + 10))
    columns, bulk = requests_of(batch, prefix="p")
    error: dict[str, Json] = {"code": "too_old", "detail": "old", "retryable": False}

    in_columns = refusals_in(columns, {"errors": [{"index": [0, 1], **error}]})
    in_bulk = refusals_in(bulk, {"results": {"d": {"errors": [{"index": 0, **error}]}}})

    assert in_columns == [Refusal(3, "too_old", "old")]
    assert in_bulk == [Refusal(12, "too_old", "old")]
    assert refusals_in(columns, {"errors": [{"index": [9, 9], **error}]})[0].line == 0


def test_a_row_without_a_value_is_counted_and_an_ancient_one_refused() -> None:
    lines: list[tuple[int, Row | Refusal]] = [
        (2, ["1766052000", "d", ""]),
        (3, ["86400", "d", "1"]),
        (4, ["1766052000", "d", "1"]),
    ]

    (batch,) = batches(iter(lines), BINDING, bounds=BOUNDS)

    assert (batch.points, batch.empty_rows) == (1, 1)
    assert [(refusal.line, refusal.code) for refusal in batch.refused] == [(3, "too_old")]
