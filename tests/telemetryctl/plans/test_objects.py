"""When two objects say the same, whoever wrote them; and the mark of a set."""

from __future__ import annotations

from typing import Any

import pytest

from telemetryctl.failures import UsageFailure
from telemetryctl.files.documents import Document
from telemetryctl.plans.kinds import KINDS, kind_of
from telemetryctl.plans.marks import check_set, mark_of, with_mark
from telemetryctl.plans.objects import Names, same

NAMES = Names({"grp_1": "north"})


def wanted(word: str, **spec: Any) -> dict[str, Any]:
    return KINDS[word].wanted(Document(word, "x", spec, "here"), NAMES)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (1, 1.0, True), (1, True, False), (0, False, False), (None, False, False), ("1", 1, False),
        ([1, {"a": 2.0}], [1.0, {"a": 2}], True), ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
    ],
)  # fmt: skip
def test_values_are_the_same_as_json_numbers_are(one: Any, other: Any, is_same: bool) -> None:
    assert same(one, other) is is_same


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("rule", {"for": 0}, {}),
        ("rule", {"threshold_value": 30.0}, {"threshold_value": 30}),
        ("rule", {"device_ids": ["b", "a", "b"]}, {"device_ids": ["a", "b"]}),
        ("rule", {"device_groups": ["grp_1"]}, {"device_groups": ["north"]}),
        ("rule", {"expected_interval": "auto"}, {}),
        ("rule", {"quiet_hours": {"start": 22}}, {"quiet_hours": {"start": 22, "days": None}}),
    ],
)
def test_documents_that_say_the_same_are_the_same(
    kind: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert same(wanted(kind, metric_name="m", **one), wanted(kind, metric_name="m", **other))


def test_what_a_document_leaves_out_is_the_default_or_is_left_alone() -> None:
    assert wanted("rule", metric_name="m")["cooldown_minutes"] == 15
    assert "device_ids" not in wanted("group", kind="room")
    assert wanted("group", kind="room", parent_id="grp_1")["parent_id"] == "north"
    assert "port" not in wanted("channel", kind="email", host="h")


def test_a_secret_is_never_compared() -> None:
    assert "secret" not in wanted("channel", kind="webhook", url="https://a.b", secret="whsec_x")
    assert "url" not in wanted("channel", kind="slack", url={"env": "X"})
    assert "url" in wanted("channel", kind="webhook", url="https://a.b")


@pytest.mark.parametrize(
    ("kind", "fields", "marked"),
    [
        ("rule", {"tags": ["a"]}, {"tags": ["a", "apply_set:k"]}),
        ("rule", {"tags": ["apply_set:old", "a"]}, {"tags": ["a", "apply_set:k"]}),
        ("rule", {"tags": {"a": "b"}}, {"tags": {"a": "b", "apply_set": "k"}}),
        ("metric", {"metadata": {}}, {"metadata": {"apply_set": "k"}}),
    ],
)
def test_a_mark_stands_where_there_is_room(
    kind: str, fields: dict[str, Any], marked: dict[str, Any]
) -> None:
    assert with_mark(KINDS[kind], fields, "k") == marked
    assert mark_of(KINDS[kind], marked) == "k"
    assert with_mark(KINDS[kind], marked, None) == marked


def test_a_channel_has_no_room_for_a_mark() -> None:
    assert with_mark(KINDS["channel"], {"kind": "stream"}, "k") == {"kind": "stream"}
    assert mark_of(KINDS["channel"], {"kind": "stream"}) is None


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 49])
def test_the_name_of_a_set_fits_into_a_tag(name: str) -> None:
    with pytest.raises(UsageFailure):
        check_set(name)


def test_a_kind_may_be_said_as_people_say_it() -> None:
    assert [kind_of(word).word for word in ("Rule", "rules", "METRIC")] == [
        "rule",
        "rule",
        "metric",
    ]
    with pytest.raises(UsageFailure):
        kind_of("pod")
