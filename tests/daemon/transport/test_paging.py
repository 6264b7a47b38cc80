"""Lists say where they go on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from alert_builder import a_rule, an_alert
from control import API, Control

from daemon.domain.list_cursors import list_cursor

pytestmark = pytest.mark.anyio

FEEDS = {
    "list_changes": "points behind a cursor of the journal, which `cursor` of the answer is",
    "list_events": "the same of events",
    "read_range": "points by time, whose cursors name a point",
    "list_rates": "the busiest now, anew each second",
}
"""What takes a limit and is no list with a beginning and an end."""
PAGE_FIELDS = {"limit", "offset", "count", "total", "filters", "next_cursor"}


async def test_a_list_is_read_to_its_end_by_its_links(control: Control) -> None:
    for at in range(5):
        body = {"name": f"m_{at}", "data_type": "numeric", "description": "a & b"}
        await control.client.post(f"{API}/metrics", json=body)
    url = str(control.client.base_url) + f"{API}/metrics?limit=2&q=a%20%26%20b"
    found: list[str] = []
    while url:
        answer = await control.client.get(url)
        found += [metric["name"] for metric in answer.json()["metrics"]]
        url = urljoin(url, answer.links["next"]["url"]) if answer.links else ""

    assert found == [f"m_{at}" for at in range(5)]


@pytest.mark.parametrize("query", ["", "?limit=5", "?offset=4", "?offset=99", "?limit=1&offset=4"])
async def test_the_last_page_leads_nowhere(control: Control, query: str) -> None:
    for at in range(5):
        await control.client.post(f"{API}/groups", json={"name": f"g_{at}", "kind": "site"})

    answer = await control.client.get(f"{API}/groups{query}")

    assert "link" not in answer.headers


async def test_a_hostile_query_stays_inside_its_link(control: Control) -> None:
    for at in range(2):
        body = {"name": f'x>;"{at}', "kind": "site"}
        assert (await control.client.post(f"{API}/groups", json=body)).status_code == 201

    answer = await control.client.get(
        f"{API}/groups", params={"limit": 1, "kind": "site", "evil": '>; rel="x", <http://evil>'}
    )

    link = answer.headers["link"]
    assert link.count("<") == link.count(">") == 1
    assert httpx.QueryParams(answer.links["next"]["url"][1:])["offset"] == "1"


# -- cursors, of every list that there is --------------------------------------------------------


async def list_operations(control: Control) -> dict[str, str]:
    """Path by operation id, of all that take a limit."""
    document = (await control.client.get("/api/openapi.json")).json()
    return {
        operation["operationId"]: path
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method == "get" and "limit" in {p["name"] for p in operation.get("parameters", ())}
        and operation["operationId"] not in FEEDS
    }  # fmt: skip


async def five_of_each(control: Control) -> str:
    """Something for every list; the id of a group that has five devices."""
    start_us = control.clock.now_us()
    names = [f"d{n}" for n in range(5)]
    await control.send([(name, "temperature", start_us, 1.0) for name in names])
    for n, name in enumerate(names):
        await _post(control, "/metrics", {"name": f"m{n}", "data_type": "numeric"})
        await _post(control, "/groups", {"name": f"g{n}", "device_ids": names, "kind": "site"})
        await _post(control, "/keys", {"name": f"k{n}", "scopes": ["read"], "tier": "free"})
        account = {"username": f"u{n}", "password": "correct horse battery", "scopes": ["read"]}
        await _post(control, "/accounts", account)
        rule = await _post(control, "/alerts/rules", a_rule(f"r{n}"))
        hook = {"name": f"c{n}", "kind": "webhook", "url": "http://127.0.0.1:9/hook"}
        await _post(control, "/channels", hook)
        await _post(control, f"/channels/c{n}/test", {}, 200)
        until = {"ends_at": "2999-01-01T00:00:00Z", "comment": "c"}
        await _post(control, "/silences", {"matchers": {"device_id": name}} | until)
        watch = {"device_id": name, "metric_name": "temperature", "from": None, "to": 1}
        await _post(control, "/watches", watch)
        await an_alert(control.database, rule_id=rule["rule_id"], device_id=name)
        span = {"start_time": "2025-01-01T00:00:00Z", "end_time": "2025-01-02T00:00:00Z"}
        await _post(control, "/alerts/rules/backtest", {"rule": a_rule()} | span, 202)
    found = await control.client.get(f"{API}/groups?name=g0")
    return str(found.json()["groups"][0]["group_id"])


async def _post(control: Control, path: str, body: Any, status: int = 201) -> dict[str, Any]:
    answer = await control.client.post(API + path, json=body)
    assert answer.status_code == status, (path, answer.text)
    found: dict[str, Any] = answer.json()
    return found


def rows_of(page: dict[str, Any]) -> list[Any]:
    (rows,) = [value for value in page.values() if isinstance(value, list)]
    return rows


async def test_every_list_is_read_once_and_to_its_end_by_its_cursors(control: Control) -> None:
    group_id = await five_of_each(control)
    for operation, path in (await list_operations(control)).items():
        url = path.replace("{group_id}", group_id)
        whole = rows_of((await control.client.get(url)).json())
        found: list[Any] = []
        query, pages = {"limit": "2"}, 0
        while query.get("cursor") != "":
            page = (await control.client.get(url, params=query)).json()
            assert page.keys() >= PAGE_FIELDS, operation
            assert page["total"] == len(whole), operation
            assert page["offset"] == len(found), operation
            found += rows_of(page)
            query = {"limit": "2", "cursor": page["next_cursor"] or ""}
            pages += 1

        assert found == whole, operation
        assert len(found) >= 5, operation
        assert pages == -(-len(whole) // 2), operation


async def test_every_list_refuses_a_cursor_that_is_none(control: Control) -> None:
    for operation, path in (await list_operations(control)).items():
        url = path.replace("{group_id}", "grp_x")
        for query in (
            {"cursor": "zzz"},
            {"cursor": ""},
            {"cursor": list_cursor(2) + "="},
            {"cursor": "x" * 10_000},
            {"cursor": list_cursor(2**31)},
            {"cursor": list_cursor(2), "offset": "2"},
        ):
            answer = await control.client.get(url, params=query)

            assert answer.status_code == 400, (operation, query, answer.text)
            code = "two_places" if "offset" in query else "bad_cursor"
            assert answer.json()["code"] == code, operation


async def test_a_cursor_and_a_link_lead_to_the_same_page(control: Control) -> None:
    for at in range(5):
        await _post(control, "/metrics", {"name": f"m{at}", "data_type": "numeric"})
    first = (await control.client.get(f"{API}/metrics?limit=2")).json()

    second = await control.client.get(
        f"{API}/metrics", params={"limit": 2, "cursor": first["next_cursor"]}
    )
    third = await control.client.get(urljoin(f"{API}/metrics", second.links["next"]["url"]))

    assert [m["name"] for m in rows_of(second.json())] == ["m2", "m3"]
    assert [m["name"] for m in rows_of(third.json())] == ["m4"]
    assert (third.json()["offset"], third.json()["next_cursor"]) == (4, None)
