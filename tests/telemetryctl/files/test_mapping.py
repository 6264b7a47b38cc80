"""The `--map` syntax, and rows turned into points by it."""

from datetime import UTC

import pytest

from telemetryctl.files.binding import bind
from telemetryctl.files.mapping import BadMapping, Constants, Source, parse_mapping
from telemetryctl.files.names import constants_of, fallback_constants, names_in, stem_of
from telemetryctl.files.points import Json, Point, Row

FLEET = ("vehicle_id", "timestamp", "speed", "route_id", "latitude", "longitude")
FLEET_ROW: Row = ["2010", "2015-03-07T10:03:34-06:00", "12.5", "320", "30.2", "-97.7"]
FLEET_TIME_US = 1_425_744_214_000_000


def test_items_are_separated_by_commas_outside_brackets() -> None:
    mapping = parse_mapping(["timestamp=ts,value=v:mph", "tags.room=room"])

    assert mapping.roles == {
        "timestamp": Source(("ts",)),
        "value": Source(("v",), unit="mph"),
    }
    assert mapping.tags == {"room": "room"}


def test_functions_say_how_columns_are_read() -> None:
    mapping = parse_mapping(['p=geo(la,lo,"a(l)t"),n=num(n):celsius,s=str("a,b=c")'])

    assert mapping.metrics == {
        "p": Source(("la", "lo", "a(l)t"), "geo"),
        "n": Source(("n",), "num", "celsius"),
        "s": Source(("a,b=c",), "str"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "speed",
        "=speed",
        "speed=",
        "speed=geo(a)",
        "speed=num(a,b)",
        "speed=sum(a)",
        "speed=a,,b=c",
        "speed=(a",
        "a=b,a=c",
        "tags.=a",
        "tags.a=num(b)",
        "timestamp=geo(a,b)",
        "value=a,speed=b",
        "device=a,device_id=b",
    ],
)
def test_a_misspelt_mapping_is_refused(text: str) -> None:
    with pytest.raises(BadMapping):
        parse_mapping([text])


def test_a_fleet_row_becomes_a_point_for_each_metric() -> None:
    mapping = parse_mapping(
        [
            "timestamp=timestamp,device=vehicle_id,speed=speed:mph",
            "position=geo(latitude,longitude)",
            "tags.route=route_id",
        ]
    )
    binding = bind(mapping, FLEET, Constants())

    points, refused = binding.points(2, FLEET_ROW)

    tags = (("route", "320"),)
    place: dict[str, Json] = {"lat": 30.2, "lon": -97.7}
    assert points == [
        Point("2010", "speed", FLEET_TIME_US, 12.5, "mph", tags, 2),
        Point("2010", "position", FLEET_TIME_US, place, None, tags, 2),
    ]
    assert refused == []


def test_columns_with_usual_names_need_no_mapping() -> None:
    columns = ("timestamp", "device_id", "metric_name", "value", "unit", "tags")
    binding = bind(parse_mapping([]), columns, Constants())

    points, _ = binding.points(2, ["1766052000", "d", "m", "1.5", "celsius", '{"room": "a"}'])

    assert points == [Point("d", "m", 1_766_052_000_000_000, 1.5, "celsius", (("room", "a"),), 2)]


def test_flags_name_what_the_file_does_not() -> None:
    constants = Constants("d", "m", unit="celsius", tags=(("site", "x"),), zone=UTC)
    binding = bind(parse_mapping([]), ("timestamp", "value"), constants)

    points, _ = binding.points(2, ["2025-12-18 10:00:00", "1.5"])

    assert points == [Point("d", "m", 1_766_052_000_000_000, 1.5, "celsius", (("site", "x"),), 2)]


def test_json_rows_keep_their_types_and_may_lack_keys() -> None:
    binding = bind(parse_mapping([]), None, Constants(device="d"))
    row: Row = {"timestamp": 1766052000, "metric_name": "m", "value": "5", "metadata": {"s": "A7"}}

    points, refused = binding.points(1, row)

    assert points == [Point("d", "m", 1_766_052_000_000_000, "5", None, (), 1, {"s": "A7"})]
    assert refused == []
    assert binding.points(1, {"timestamp": 1, "metric_name": "m"}) == ([], [])


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (["soon", "d", "1"], "bad_timestamp"),
        (["1766052000", "", "1"], "bad_name"),
        (["1766052000", "d", "nan"], "not_finite"),
    ],
)
def test_a_row_that_says_nothing_usable_is_refused_with_its_line(row: list[str], code: str) -> None:
    binding = bind(parse_mapping([]), ("timestamp", "device", "value"), Constants(metric="m"))

    points, refused = binding.points(7, row)

    assert points == []
    assert [(refusal.line, refusal.code) for refusal in refused] == [(7, code)]


def test_one_bad_cell_leaves_the_other_metrics_of_the_row() -> None:
    binding = bind(parse_mapping(["a=num(a),b=num(b)"]), ("time", "a", "b"), Constants(device="d"))

    points, refused = binding.points(3, ["1766052000", "x", "2"])

    assert [point.metric_name for point in points] == ["b"]
    assert [(refusal.metric_name, refusal.code) for refusal in refused] == [("a", "bad_value")]


@pytest.mark.parametrize(
    ("maps", "columns", "said"),
    [
        (["speed=velocity"], ("time", "device", "speed"), "no column 'velocity'"),
        (["speed=speed"], ("when", "device", "speed"), "holds the time"),
        (["speed=speed"], ("time", "vehicle", "speed"), "names the device"),
        ([], ("time", "device", "speed"), "holds a value"),
        ([], ("time", "device", "value"), "names the metric"),
    ],
)
def test_what_the_file_lacks_is_said_with_its_columns(
    maps: list[str], columns: tuple[str, ...], said: str
) -> None:
    with pytest.raises(BadMapping, match=said) as caught:
        bind(parse_mapping(maps), columns, Constants())

    assert "columns: " in str(caught.value)


def test_a_files_name_says_device_and_metric() -> None:
    stem = stem_of("data/ec2_cpu_utilization_24ae8d.csv.gz")

    assert stem == "ec2_cpu_utilization_24ae8d"
    assert names_in("{metric}_{device}", stem) == {
        "metric": "ec2_cpu_utilization",
        "device": "24ae8d",
    }
    found = constants_of("a_b.csv", Constants(metric="m"), pattern="{metric}_{device}")
    assert found == Constants(device="b", metric="m")


@pytest.mark.parametrize("pattern", ["{place}", "{device}{device}", "x_{device}"])
def test_a_pattern_that_does_not_fit_is_refused(pattern: str) -> None:
    with pytest.raises(BadMapping):
        names_in(pattern, "cpu_24ae8d")


def test_without_any_word_the_device_is_the_files_name_and_the_metric_its_column() -> None:
    mapping = parse_mapping([])
    found = fallback_constants("x/cpu.csv", Constants(), mapping, columns=("timestamp", "value"))

    assert found == Constants(device="cpu", metric="value")
