"""Lists say where they go on."""

from __future__ import annotations

from urllib.parse import urljoin

import httpx
import pytest
from control import API, Control

pytestmark = pytest.mark.anyio


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
