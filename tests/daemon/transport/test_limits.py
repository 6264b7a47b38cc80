"""What the gate lets in, in which order it asks, and what answers say of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from control import API, Control, bearer

from daemon.domain.budgets import TierNumbers
from daemon.service.limits import LimitSettings

pytestmark = pytest.mark.anyio

SETTINGS = LimitSettings(
    {
        "free": TierNumbers(query_per_hour=5, control_per_hour=3, points_per_s=10),
        "enterprise": TierNumbers(),
    },
    anonymous_per_hour=4,
    refused_per_hour=6,
)


@pytest.fixture
def limited(control: Control) -> Control:
    control.services.limits.configure(SETTINGS)
    return control


async def statuses(control: Control, path: str, times: int, **options: object) -> list[int]:
    answers = await asyncio.gather(
        *(control.client.get(API + path, **options) for _ in range(times))  # type: ignore[arg-type]
    )
    return sorted(answer.status_code for answer in answers)


async def test_a_key_gets_its_number_of_queries_and_then_429(limited: Control) -> None:
    headers = bearer(await limited.key("read"))

    assert await statuses(limited, "/devices", 8, headers=headers) == [200] * 5 + [429] * 3


async def test_a_refusal_says_when_to_try_again(limited: Control) -> None:
    headers = bearer(await limited.key("read"))
    await statuses(limited, "/devices", 5, headers=headers)

    refused = await limited.client.get(f"{API}/devices", headers=headers)

    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 3_590 <= int(refused.headers["retry-after"]) <= 3_630
    assert refused.json()["retry_after"] == int(refused.headers["retry-after"])
    assert refused.json()["code"] == "rate_limited"
    assert refused.headers["x-ratelimit-remaining"] == "0"


async def test_every_answer_says_what_is_left(limited: Control) -> None:
    headers = bearer(await limited.key("read"))
    first = await limited.client.get(f"{API}/devices", headers=headers)
    missing = await limited.client.get(f"{API}/devices/none", headers=headers)

    assert first.headers["x-ratelimit-limit"] == "5"
    assert first.headers["x-ratelimit-remaining"] == "4"
    assert first.headers["ratelimit-policy"] == '"query";q=5;w=3600'
    assert first.headers["ratelimit"].startswith('"query";r=4;t=36')
    assert missing.status_code == 404
    assert missing.headers["x-ratelimit-remaining"] == "3"


async def test_reads_and_writes_have_budgets_of_their_own(limited: Control) -> None:
    headers = bearer(await limited.key("read", "keys"))
    await statuses(limited, "/devices", 6, headers=headers)

    posted = await limited.client.post(f"{API}/tickets", json={}, headers=headers)

    assert posted.status_code == 201
    assert posted.headers["ratelimit-policy"] == '"control";q=3;w=3600'


async def test_who_asks_is_told_what_is_left(limited: Control) -> None:
    headers = bearer(await limited.key("read"))
    await statuses(limited, "/devices", 2, headers=headers)

    own = (await limited.client.get("/auth/whoami", headers=headers)).json()["limits"]
    admin = (await limited.client.get("/auth/whoami")).json()["limits"]

    assert admin == {}
    assert {name: one["remaining"] for name, one in own.items()} == {
        "query": 3, "control": 2, "ingest": 100,
    }  # fmt: skip
    assert own["query"]["limit"] == 5
    assert own["query"]["window"] == 3_600
    assert 3_590 <= own["query"]["reset_in"] <= 3_630


async def test_without_a_credential_an_address_gets_401_and_then_429(limited: Control) -> None:
    none = {"Authorization": ""}

    assert await statuses(limited, "/devices", 6, headers=none) == [401] * 4 + [429] * 2


async def test_a_wrong_credential_is_counted_apart(limited: Control) -> None:
    wrong = bearer("tlm_live_nothing")

    assert await statuses(limited, "/devices", 8, headers=wrong) == [401] * 6 + [429] * 2
    assert await statuses(limited, "/devices", 1, headers={"Authorization": ""}) == [401]


async def test_a_key_is_not_held_up_by_others_at_its_address(limited: Control) -> None:
    await statuses(limited, "/devices", 6, headers={"Authorization": ""})
    await statuses(limited, "/devices", 8, headers=bearer("tlm_live_nothing"))

    assert await statuses(limited, "/devices", 1, headers=bearer(await limited.key("read"))) == [
        200
    ]


async def test_the_limit_is_checked_before_the_scope_and_that_before_the_body(
    limited: Control,
) -> None:
    headers = bearer(await limited.key("read"))
    url = f"{API}/metrics"
    answers = [
        await limited.client.post(url, content=b"no json", headers=headers) for _ in range(4)
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 429]


async def test_an_exempt_network_is_not_limited(limited: Control) -> None:
    from ipaddress import ip_network

    headers = bearer(await limited.key("read"))
    limited.services.limits.configure(replace(SETTINGS, exempt=(ip_network("127.0.0.0/8"),)))

    assert await statuses(limited, "/devices", 12, headers=headers) == [200] * 12
    assert await statuses(limited, "/devices", 8, headers={"Authorization": ""}) == [401] * 8


async def test_an_enterprise_key_and_the_health_are_not_limited(limited: Control) -> None:
    admin = await limited.client.get(f"{API}/devices")

    assert admin.headers["x-ratelimit-limit"] == "1000000000"
    assert "ratelimit" not in admin.headers
    for path in ("/health", "/health/live", "/api/openapi.json"):
        answer = await limited.client.get(path)
        assert "x-ratelimit-limit" not in answer.headers
    assert await statuses(limited, "/devices", 20) == [200] * 20


@pytest.mark.parametrize("path", ["/devices", "/devices?limit=3", "/latest?device_ids=a"])
async def test_reads_of_other_routes_share_the_budget(limited: Control, path: str) -> None:
    headers = bearer(await limited.key("read"))
    await statuses(limited, "/devices/a%2Fb", 3, headers=headers)
    await statuses(limited, "/DEVICES", 3, headers=headers)

    assert await statuses(limited, path, 4, headers=headers) == [200] * 2 + [429] * 2
