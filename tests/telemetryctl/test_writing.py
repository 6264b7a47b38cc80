"""Points typed on the command line and read from files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from telemetryctl.failures import UsageFailure
from telemetryctl.files.points import Refusal
from telemetryctl.writing import Lines, gather, parse_assignments

POINT = {"timestamp": "2025-12-18T10:00:00Z", "metric_name": "t", "value": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("21.5", 21.5),
        ("-3", -3),
        ("true", True),
        ("open", "open"),
        ('"21.5"', "21.5"),
        ("", ""),
        ("a=b", "a=b"),
        ('{"lat": 1, "lon": 2}', {"lat": 1, "lon": 2}),
        ("{broken", "{broken"),
    ],
)
def test_a_value_is_json_and_a_bare_word_is_text(text: str, value: object) -> None:
    assert parse_assignments([f"metric={text}"]) == [("metric", value)]


@pytest.mark.parametrize(
    "text", ["metric", "=1", "metric=NaN", "metric=1e999", "metric=[Infinity]"]
)
def test_what_is_no_assignment_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageFailure):
        parse_assignments([text])


def read(path: Path, **options: Any) -> list[dict[str, Any] | Refusal]:
    return [point for _, point, _ in Lines(str(path), **options).read()]


@pytest.mark.parametrize(
    "document",
    [
        [{"device_id": "d", **POINT}],
        {"device_id": "d", **POINT},
        {"data_points": [{"device_id": "d", **POINT}]},
        {"d": [POINT]},
        {"d": POINT},
    ],
)
def test_json_comes_in_all_the_shapes_of_the_api(tmp_path: Path, document: object) -> None:
    path = tmp_path / "points.json"
    path.write_text(json.dumps(document))

    assert read(path) == [{"device_id": "d", **POINT}]


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps([POINT]).encode()))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(POINT).encode()))

    assert read(tmp_path / "a.json.gz", device_id="d") == [{"device_id": "d", **POINT}]
    assert read(tmp_path / "b.jsonl.gz", device_id="d") == [{"device_id": "d", **POINT}]


def test_an_export_can_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(
        "timestamp,device_id,metric_name,value,unit,tags\n"
        '2025-12-18T10:00:00Z,d,t,21.5,celsius,"{""room"":""lab""}"\n'
        "2025-12-18T10:00:01Z,d,door,open,,\n"
    )

    assert read(path) == [
        {
            "device_id": "d",
            "timestamp": "2025-12-18T10:00:00Z",
            "metric_name": "t",
            "value": 21.5,
            "unit": "celsius",
            "tags": {"room": "lab"},
        },
        {
            "device_id": "d",
            "timestamp": "2025-12-18T10:00:01Z",
            "metric_name": "door",
            "value": "open",
        },
    ]


def test_a_line_that_is_no_point_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    path.write_text(
        f'{{"device_id": "d"}}\nnot json\n{json.dumps(POINT)}\n{{"device_id": "d", "value": NaN}}\n'
    )

    found = read(path)

    assert found[0] == {"device_id": "d"}
    assert [p.code for p in found[1:] if isinstance(p, Refusal)] == [
        "bad_row",
        "bad_name",
        "not_finite",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "{"), ("a.csv", "x,y\n1,2\n"), ("missing.jsonl", None), ("a.csv", "")],
)
def test_a_file_that_cannot_be_read_is_a_usage_error(
    tmp_path: Path, name: str, text: str | None
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)

    with pytest.raises(UsageFailure):
        read(tmp_path / name)


def test_batches_have_a_bound_and_keep_the_order(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    path.write_text("".join(json.dumps({**POINT, "value": i}) + "\n" for i in range(25)))

    batches = list(gather(Lines(str(path), device_id="d"), batch_points=10))

    assert [batch.size for batch in batches] == [10, 10, 5]
    assert [batch.number for batch in batches] == [0, 1, 2]
    assert [p["value"] for batch in batches for p in batch.points["d"]] == list(range(25))


def test_refusals_name_the_line_and_hold_the_row(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    rows = [{"device_id": device, **POINT} for device in ("a", "b", "a")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    [batch] = gather(Lines(str(path)), batch_points=10)
    error = {"index": 1, "code": "too_old", "detail": "x", "retryable": False}

    found = list(batch.refusals({"results": {"a": {"errors": [error]}, "b": {"errors": []}}}))

    assert found == [(Refusal(3, "too_old", "x"), rows[2])]
