"""Limits of real daemons on one database: one key, one address, whichever of them it asks."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess, start_daemon, started, wait_until_serving
from databases import fresh_database
from histories import eventually
from servers import PostgresServer

pytestmark = pytest.mark.anyio

PROXY = "127.0.0.9"
WAIT_S = 120
PATIENT: dict[str, Any] = {"sabotage": "patient"}
"""Who gets no answer of the database within a second counts alone: then nothing here is exact."""
SETTINGS: dict[str, Any] = PATIENT | {
    "limits__exempt_networks": "[]",
    "limits__free__points_per_s": "30",
    "server__trusted_proxies": f'["{PROXY}/32"]',
}
_STRING = r'"[\x20\x21\x23-\x5b\x5d-\x7e]*"'
ITEM = re.compile(rf"{_STRING}(?:; *[a-z*][a-z0-9_.*-]*=(?:-?\d{{1,15}}|{_STRING}))*")
"""A string with parameters that are integers or strings (RFC 9651, section 3)."""


@pytest.fixture(scope="module")
def fleet(postgres: PostgresServer) -> Iterator[list[DaemonProcess]]:
    """Three daemons on one database, the last of them two processes behind a port."""
    dsn = asyncio.run(fresh_database(postgres))
    first = start_daemon(dsn, **SETTINGS)
    others = [
        start_daemon(dsn, key=first.key, wait=False, server__processes=count, **SETTINGS)
        for count in ("1", "2")
    ]
    for daemon in others:
        wait_until_serving(daemon)
    yield [first, *others]
    for daemon in (first, *others):
        daemon.stop()


@asynccontextmanager
async def clients(
    fleet: list[DaemonProcess], key: str | None, *, address: str = "127.0.0.1"
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each daemon, at an address."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=daemon.url,
                    headers=headers,
                    timeout=WAIT_S,
                    transport=httpx.AsyncHTTPTransport(
                        local_address=address, limits=httpx.Limits(max_connections=20)
                    ),
                )
            )
            for daemon in fleet
        ]


async def a_key(daemon: DaemonProcess, tier: str, *scopes: str) -> str:
    body = {"name": tier, "scopes": scopes, "tier": tier}
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with httpx.AsyncClient(base_url=daemon.url, headers=headers, timeout=WAIT_S) as admin:
        made = await admin.post(f"{API}/keys", json=body)
    return str(made.raise_for_status().json()["key"])


async def asked(
    at: list[httpx.AsyncClient], times: int, *paths: str
) -> tuple[Counter[int], list[httpx.Response]]:
    """Ask all of them in turn, all at once."""
    answers = await asyncio.gather(
        *(at[n % len(at)].get(paths[n % len(paths)]) for n in range(times))
    )
    return Counter(answer.status_code for answer in answers), list(answers)


async def test_daemons_share_the_budget_of_a_key(fleet: list[DaemonProcess]) -> None:
    admin = {"Authorization": f"Bearer {fleet[0].key}"}
    point = {"timestamp": time.time(), "metric_name": "m", "value": 1}
    url = fleet[0].url + f"{API}/devices/d/telemetry"
    stored = httpx.post(url, json=point, headers=admin, timeout=WAIT_S)
    assert stored.status_code == 200
    key = await a_key(fleet[0], "pro", "read")
    async with clients(fleet, key) as at:
        found, _ = await asked(
            at, 1_300, f"{API}/devices/d/metrics/m/latest", f"{API}/devices", f"{API}/devices/d"
        )

    assert set(found) <= {200, 404, 429}
    assert 950 <= found[200] + found[404] <= 1_050


async def test_500_at_once_of_a_free_key_are_100(fleet: list[DaemonProcess]) -> None:
    key = await a_key(fleet[0], "free", "read")
    async with clients(fleet, key) as at:
        found, answers = await asked(
            at,
            500,
            f"{API}/devices",
            f"{API}/devices?limit=1",
            f"{API}/devices/%41",
            f"{API}/stats",
        )

    assert 95 <= found[200] + found[404] <= 105
    for answer in answers:
        headers = answer.headers
        assert headers["x-ratelimit-limit"] == "100"
        assert 0 <= int(headers["x-ratelimit-remaining"]) < 100
        assert time.time() - 5 <= int(headers["x-ratelimit-reset"]) <= time.time() + 3_700
        assert ITEM.fullmatch(headers["ratelimit-policy"])
        assert ITEM.fullmatch(headers["ratelimit"])
        if answer.status_code == 429:
            assert headers["content-type"] == "application/problem+json"
            assert answer.json()["retry_after"] == int(headers["retry-after"]) > 3_500


async def test_the_points_of_a_key_are_limited_on_every_way_in(
    fleet: list[DaemonProcess],
) -> None:
    key = await a_key(fleet[0], "free", "ingest")
    began_s = time.monotonic()
    one = {"timestamp": time.time(), "metric_name": "m", "value": 1}
    many = {"data_points": [one | {"timestamp": time.time() - n} for n in range(10)]}
    accepted, refused = 0, []
    async with clients(fleet, key) as at:
        for turn in range(150):
            client = at[turn % 3]
            batch = turn % 10 == 0
            path, body = ("/batch", many) if batch else ("", one)
            answer = await client.post(f"{API}/devices/p/telemetry{path}", json=body)
            assert answer.headers["ratelimit-policy"] == '"ingest";q=300;qu="points";w=10'
            if answer.status_code == 200:
                accepted += 10 if batch else 1
            else:
                refused.append(answer)
        while not refused and accepted < 10_000:
            answer = await at[accepted % 3].post(f"{API}/devices/p/telemetry/batch", json=many)
            accepted += 10 if answer.status_code == 200 else 0
            refused += [answer] if answer.status_code != 200 else []
    took_s = time.monotonic() - began_s

    assert 0.95 * 300 - 30 <= accepted <= 1.05 * (300 + 30 * took_s)
    assert refused[0].status_code == 429
    assert 1 <= int(refused[0].headers["retry-after"]) <= 10


async def test_new_streams_are_a_budget_of_their_own(fleet: list[DaemonProcess]) -> None:
    key = await a_key(fleet[0], "pro", "read")
    statuses: Counter[int] = Counter()
    async with clients(fleet, key) as at:
        for turn in range(130):
            async with at[turn % 3].stream("GET", f"{API}/stream/events") as answer:
                statuses[answer.status_code] += 1
                assert answer.headers["ratelimit-policy"] == '"stream";q=100;w=3600'

    assert statuses == {200: 100, 429: 30}


async def test_addresses_that_a_client_makes_up_are_not_believed(
    fleet: list[DaemonProcess],
) -> None:
    found: Counter[int] = Counter()
    async with clients(fleet, None, address="127.0.0.21") as at:
        for turn in range(40):
            made_up = ".".join(str(random.randint(1, 254)) for _ in range(4))
            headers = {"X-Forwarded-For": made_up, "Forwarded": f"for={made_up}"}
            answer = await at[turn % 3].get(f"{API}/devices", headers=headers)
            found[answer.status_code] += 1

    assert found == {401: 10, 429: 30}


async def test_behind_a_trusted_proxy_each_client_has_its_own_budget(
    fleet: list[DaemonProcess],
) -> None:
    found: dict[str, Counter[int]] = {"198.51.100.1": Counter(), "198.51.100.2": Counter()}
    async with clients(fleet, None, address=PROXY) as at:
        for turn in range(30):
            client = f"198.51.100.{1 + turn % 2}"
            headers = {"X-Forwarded-For": f"203.0.113.{turn}, {client}"}
            answer = await at[turn % 3].get(f"{API}/devices", headers=headers)
            found[client][answer.status_code] += 1

    assert set(map(tuple, (sorted(one.items()) for one in found.values()))) == {
        ((401, 10), (429, 5))
    }


async def test_a_refusal_is_logged_and_counted(fleet: list[DaemonProcess]) -> None:
    async with clients(fleet[:1], None, address="127.0.0.22") as at:
        await asked(at, 30, f"{API}/devices")
    page = httpx.get(fleet[0].url + "/metrics", timeout=WAIT_S).text

    assert re.search(
        r'telemetry_rate_limited_total\{class="anonymous",process="1",tier="anonymous"\} \d\d', page
    )

    def lines() -> list[dict[str, Any]]:
        return [one for one in fleet[0].log if one.get("subject") == "address 127.0.0.22"]

    (line,) = await eventually(lines, timeout_s=30, what="the line of this address")
    assert line["event"] == "rate_limited"


async def test_health_and_figures_are_never_limited(fleet: list[DaemonProcess]) -> None:
    async with clients(fleet, None, address="127.0.0.23") as at:
        found, _ = await asked(at, 60, "/health", "/health/live", "/api/openapi.json")

    assert found == {200: 60}


async def test_the_command_line_says_when_to_try_again(fleet: list[DaemonProcess]) -> None:
    key = await a_key(fleet[0], "free", "read")
    async with clients(fleet, key) as at:
        await asked(at, 110, f"{API}/devices")
    done = await asyncio.to_thread(
        fleet[0].cli, "device", "list", check=False, TELEMETRYCTL_TOKEN=key
    )

    assert done.returncode == 75
    assert "try again in" in done.stderr
    elsewhere: dict[str, Any] = {"TELEMETRYCTL_SERVER": fleet[1].url, "TELEMETRYCTL_TOKEN": key}
    whoami = await asyncio.to_thread(fleet[1].cli, "whoami", "-o", "table", **elsewhere)
    assert re.search(r"queries left +0\b", whoami.stdout), whoami.stdout
    assert re.search(r"changes left +299\b", whoami.stdout)


async def test_keys_that_a_key_makes_have_no_more_than_it(fleet: list[DaemonProcess]) -> None:
    maker = await a_key(fleet[0], "free", "keys", "read")
    made = [maker]
    async with clients(fleet, None) as at:
        for n in range(3):
            # The last maker is one that was made itself.
            headers = {"Authorization": f"Bearer {made[-1]}"}
            body = {"name": f"made {n}", "scopes": ["keys", "read"], "tier": "free"}
            answer = await at[n].post(f"{API}/keys", json=body, headers=headers)
            made.append(answer.raise_for_status().json()["key"])

    found: Counter[int] = Counter()
    for key in made:
        async with clients(fleet, key) as at:
            found += (await asked(at, 60, f"{API}/devices"))[0]

    assert found.keys() == {200, 429}
    assert 90 <= found[200] <= 105


# -- new series ----------------------------------------------------------------------------------


def points_of(*devices: str) -> dict[str, Any]:
    now_ms = int(time.time() * 1_000)
    return {device: [{"metric_name": "m", "value": 1, "timestamp": now_ms}] for device in devices}


async def test_a_key_that_brings_too_many_new_series_harms_nobody_else(
    postgres: PostgresServer,
) -> None:
    dsn = await fresh_database(postgres)
    settings: dict[str, Any] = PATIENT | {
        "limits__exempt_networks": "[]",
        "limits__pro__series_per_hour": "40",
        "limits__pro__points_per_s": "0",
    }
    first = await started(dsn, **settings)
    second = await started(dsn, key=first.key, **settings)
    hours = [time.time() // 3_600]
    try:
        one, other = [await a_key(first, "pro", "ingest") for _ in range(2)]
        async with clients([first, second], one) as (here, there):
            bodies = [points_of(*(f"d{n}" for n in range(at, at + 15))) for at in (0, 15, 30, 45)]
            answers = [
                await (here, there)[n % 2].post(f"{API}/bulk", json=body)
                for n, body in enumerate(bodies)
            ]
            stored = [answer.json()["ingested_count"] for answer in answers]
            over = answers[3].json()
            known = await there.post(f"{API}/bulk", json=points_of("d0", "d16"))
            single = await here.post(f"{API}/devices/new/telemetry", json=points_of("x")["x"][0])
            dry = await here.post(f"{API}/bulk?dry_run=true", json=points_of("new"))
        async with clients([first], other) as (here,):
            another = await here.post(f"{API}/bulk", json=points_of("e1", "e2"))
        with first.http() as http:
            devices = http.get("/devices").json()["total"]
            told = http.get("/events", params={"type": "key.series_limit"}).json()["events"]
            figures = httpx.get(f"{first.url}/metrics", timeout=WAIT_S).text
        hours.append(time.time() // 3_600)
    finally:
        await asyncio.gather(*(asyncio.to_thread(d.stop) for d in (first, second)))

    assert stored[:2] == [15, 15]
    assert 36 <= sum(stored) <= 42
    assert answers[3].status_code == 422
    assert {e["code"] for r in over["results"].values() for e in r["errors"]} == {
        "cardinality_limit"
    }
    assert (known.status_code, known.json()["ingested_count"]) == (200, 2)
    assert (single.status_code, single.json()["code"]) == (422, "cardinality_limit")
    assert dry.status_code == 200
    assert another.json()["ingested_count"] == 2
    assert devices == sum(stored) + 2
    assert {event["data"]["tier"] for event in told} == {"pro"}
    # Once in each hour of the clock.
    assert len(told) <= len(set(hours))
    assert re.search(r'rate_limited_total\{class="series",process="1",tier="pro"\} [1-9]', figures)
