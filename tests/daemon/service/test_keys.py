"""API keys: accepting, making, rotating and revoking them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from control import API, Control
from structlog.testing import capture_logs

from daemon.clock import as_datetime
from daemon.domain.access import Principal
from daemon.domain.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    StoreUnavailable,
    Unauthenticated,
)
from daemon.domain.key_request import KeyRequest
from daemon.service.expiring_keys import ExpiringKeys
from daemon.service.failure_log import FAILURES_LOGGED_PER_S
from daemon.service.key_view import KeyView
from daemon.service.keys import Keys
from daemon.store.events import EventStore
from daemon.store.keys import KeyRow, KeyStore
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio


class CountingStore(KeyStore):
    """The real store, counting its look-ups."""

    look_ups = 0

    async def find(self, key_id: str) -> KeyRow | None:
        self.look_ups += 1
        return await super().find(key_id)


@pytest.fixture
async def admin(control: Control) -> Principal:
    return await control.services.keys.authenticate(control.token, address="test")


def other_daemon(control: Control) -> tuple[Keys, CountingStore]:
    store = CountingStore(control.database)
    return Keys(store, clock=control.clock), store


async def a_key(control: Control, admin: Principal, **fields: object) -> KeyView:
    wanted = {"name": "n", "scopes": ["read"], "tier": "free", **fields}
    return await control.services.keys.create(KeyRequest(**wanted), by=admin)  # type: ignore[arg-type]


async def test_the_first_key_is_made_once_even_by_two_daemons(database: Database) -> None:
    from daemon.clock import SystemClock

    daemons = [Keys(KeyStore(database), clock=SystemClock()) for _ in range(4)]

    made = await asyncio.gather(*(keys.bootstrap() for keys in daemons))

    tokens = [token for token in made if token is not None]
    assert len(tokens) == 1
    principal = await daemons[0].authenticate(tokens[0], address="a")
    assert principal.scopes == {"admin"}
    assert principal.tier == "enterprise"


async def test_the_database_holds_no_secret(control: Control) -> None:
    async with control.database.connection("control") as connection:
        text = str(await connection.fetch("select k::text from telemetry.api_key k"))

    assert control.token not in text
    assert control.token.split("_")[3] not in text


async def test_a_key_is_looked_up_once_in_five_seconds(control: Control) -> None:
    keys, store = other_daemon(control)
    for _ in range(3):
        await keys.authenticate(control.token, address="a")
    before = store.look_ups
    control.clock.advance_s(5.1)
    is_remembered = keys.cached(control.token, address="a") is not None
    await keys.authenticate(control.token, address="a")

    assert before == 1
    assert not is_remembered
    assert store.look_ups == 2


async def test_requests_at_once_share_one_look_up(control: Control) -> None:
    keys, store = other_daemon(control)

    found = await asyncio.gather(
        *(keys.authenticate(control.token, address="a") for _ in range(50))
    )

    assert store.look_ups == 1
    assert len(set(found)) == 1


async def test_a_cancelled_request_does_not_fail_those_that_wait_with_it(control: Control) -> None:
    keys, _ = other_daemon(control)
    first = asyncio.ensure_future(keys.authenticate(control.token, address="a"))
    second = asyncio.ensure_future(keys.authenticate(control.token, address="a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()

    results = await asyncio.gather(first, second, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[1], Principal | StoreUnavailable)
    assert await keys.authenticate(control.token, address="a")


async def test_garbage_costs_no_query_and_a_forged_key_one_in_two_seconds(control: Control) -> None:
    from daemon.domain.tokens import new_token

    keys, store = other_daemon(control)
    forged = new_token("key_" + "0" * 26, env="live")
    for token in ("garbage", forged, forged):
        with pytest.raises(Unauthenticated):
            await keys.authenticate(token, address="a")

    assert store.look_ups == 1


async def test_a_flood_of_unknown_keys_is_no_load_and_locks_nobody_out(
    control: Control, admin: Principal
) -> None:
    from daemon.domain.tokens import new_token

    keys, store = other_daemon(control)
    good = (await a_key(control, admin)).key
    await keys.authenticate(good, address="a")
    codes = set()
    for number in range(10_000):
        try:
            await keys.authenticate(new_token(f"key_{number:026d}", env="live"), address="a")
        except (Unauthenticated, Busy) as error:
            codes.add(error.error_code)
    flood = store.look_ups

    assert codes == {"unauthenticated", "busy"}
    assert flood <= 51
    # It is looked up again, although nothing else is.
    keys.forget()
    await keys.authenticate(good, address="a")
    assert store.look_ups == flood + 1
    control.clock.advance_s(1)
    await keys.authenticate(control.token, address="a")


async def test_a_secret_that_is_wrong_for_a_known_id_is_refused(control: Control) -> None:
    from daemon.domain.tokens import key_id_of, new_token

    key_id = key_id_of(control.token)
    assert key_id is not None

    with pytest.raises(Unauthenticated):
        await control.services.keys.authenticate(new_token(key_id, env="live"), address="a")


async def test_refusals_are_logged_with_address_and_without_the_secret(control: Control) -> None:
    with capture_logs() as lines:
        for _ in range(FAILURES_LOGGED_PER_S + 20):
            with pytest.raises(Unauthenticated):
                await control.services.keys.authenticate(control.token + "x", address="10.1.2.3")

    failures = [line for line in lines if line["event"] == "authentication_failed"]
    assert len(failures) == FAILURES_LOGGED_PER_S
    assert failures[0]["address"] == "10.1.2.3"
    assert control.token not in str(lines)


async def test_a_database_that_is_away_is_a_try_later_never_open(control: Control) -> None:
    keys, _ = other_daemon(control)
    await keys.authenticate(control.token, address="a")
    await control.database.close()

    assert keys.cached(control.token, address="a") is not None
    control.clock.advance_s(6)
    with pytest.raises(StoreUnavailable):
        await keys.authenticate(control.token, address="a")


async def test_an_expired_key_is_refused_to_the_second(control: Control, admin: Principal) -> None:
    made = await a_key(control, admin, lifetime=timedelta(seconds=2))
    assert made.key is not None
    keys = control.services.keys
    await keys.authenticate(made.key, address="a")
    control.clock.advance_s(2.1)

    assert keys.cached(made.key, address="a") is None
    with pytest.raises(Unauthenticated):
        await keys.authenticate(made.key, address="a")


async def test_a_revoked_key_is_refused_here_at_once_and_elsewhere_in_seconds(
    control: Control, admin: Principal
) -> None:
    made = await a_key(control, admin)
    assert made.key is not None
    elsewhere, _ = other_daemon(control)
    await elsewhere.authenticate(made.key, address="a")
    await control.services.keys.authenticate(made.key, address="a")

    await control.services.keys.revoke(made.key_id, by=admin)

    with pytest.raises(Unauthenticated):
        await control.services.keys.authenticate(made.key, address="a")
    control.clock.advance_s(5.1)
    with pytest.raises(Unauthenticated):
        await elsewhere.authenticate(made.key, address="a")
    with pytest.raises(NotFound):
        await control.services.keys.show(made.key_id, by=admin)


async def test_the_last_admin_key_stays(control: Control, admin: Principal) -> None:
    with pytest.raises(Conflict) as caught:
        await control.services.keys.revoke(admin.key_id, by=admin)

    assert caught.value.error_code == "last_admin_key"


async def test_an_administrator_that_is_bound_is_none_for_everybody(
    control: Control, admin: Principal
) -> None:
    bound = await a_key(control, admin, scopes=("admin",), devices=("acme*",))
    with pytest.raises(Conflict) as caught:
        await control.services.keys.revoke(admin.key_id, by=admin)
    await control.services.keys.revoke(bound.key_id, by=admin)

    assert caught.value.error_code == "last_admin_key"


async def test_a_rotation_keeps_both_secrets_for_the_overlap(
    control: Control, admin: Principal
) -> None:
    keys = control.services.keys
    old = await a_key(control, admin)
    new = await keys.rotate(old.key_id, overlap=timedelta(seconds=60), by=admin)
    assert old.key is not None
    assert new.key is not None

    assert (await keys.authenticate(old.key, address="a")).key_id == old.key_id
    assert (await keys.authenticate(new.key, address="a")).key_id == old.key_id
    control.clock.advance_s(61)
    assert (await keys.authenticate(new.key, address="a")).key_id == old.key_id
    with pytest.raises(Unauthenticated):
        await keys.authenticate(old.key, address="a")


async def test_a_rotation_without_overlap_ends_the_old_secret_at_once(
    control: Control, admin: Principal
) -> None:
    keys = control.services.keys
    old = await a_key(control, admin)
    assert old.key is not None
    await keys.authenticate(old.key, address="a")
    await keys.rotate(old.key_id, overlap=timedelta(0), by=admin)

    with pytest.raises(Unauthenticated):
        await keys.authenticate(old.key, address="a")


@pytest.mark.parametrize(
    "wider",
    [
        {"scopes": ["keys", "export"]},
        {"scopes": ["admin"]},
        {"tier": "enterprise"},
        {"devices": None},
        {"devices": ["bus-*"]},
        {"devices": ["bus-1*", "tram-*"]},
        {"metrics": ["*"]},
        {"lifetime": None},
        {"lifetime": timedelta(hours=2)},
        {"groups": ["depot"]},
    ],
)
async def test_a_key_makes_none_that_may_do_more(
    control: Control, admin: Principal, wider: dict[str, object]
) -> None:
    own = {
        "scopes": ["keys", "read"], "tier": "pro", "devices": ["bus-1*"], "metrics": ["speed"],
        "lifetime": timedelta(hours=1),
    }  # fmt: skip
    maker = await a_key(control, admin, **own)
    assert maker.key is not None
    holder = await control.services.keys.authenticate(maker.key, address="a")
    narrower = own | {"scopes": ["read"], "devices": ["bus-1?"], "lifetime": timedelta(minutes=9)}

    made = await a_key(control, holder, **narrower)

    assert made.scopes == ["read"]
    with pytest.raises(Forbidden):
        await a_key(control, holder, **(narrower | wider))


async def test_a_key_sees_and_turns_only_keys_that_may_do_no_more(
    control: Control, admin: Principal
) -> None:
    keys = control.services.keys
    made = await a_key(control, admin, scopes=["keys"])
    assert made.key is not None
    holder = await keys.authenticate(made.key, address="a")

    listed, total = await keys.page(by=holder, limit=10, offset=0)

    assert [key.key_id for key in listed] == [made.key_id]
    assert total == 1
    for forbidden in (
        keys.show(admin.key_id, by=holder),
        keys.rotate(admin.key_id, overlap=timedelta(0), by=holder),
        keys.revoke(admin.key_id, by=holder),
    ):
        with pytest.raises(NotFound):
            await forbidden


async def test_a_key_that_ends_learns_no_secret_that_lasts_longer(
    control: Control, admin: Principal
) -> None:
    keys = control.services.keys
    maker = await a_key(control, admin, scopes=["keys", "read"], lifetime=timedelta(hours=1))
    endless = await a_key(control, admin)
    assert maker.key is not None
    holder = await keys.authenticate(maker.key, address="a")

    turned = await keys.rotate(maker.key_id, overlap=timedelta(0), by=holder)

    assert turned.key is not None
    with pytest.raises(Forbidden):
        await keys.rotate(endless.key_id, overlap=timedelta(0), by=holder)


async def test_a_former_secret_makes_and_turns_nothing_beyond_its_overlap(
    control: Control, admin: Principal
) -> None:
    keys = control.services.keys
    old = await a_key(control, admin, scopes=["keys", "read"])
    assert old.key is not None
    await keys.rotate(old.key_id, overlap=timedelta(minutes=5), by=admin)
    holder = await keys.authenticate(old.key, address="a")

    short = await a_key(control, holder, lifetime=timedelta(minutes=4))

    assert short.key is not None
    with pytest.raises(Forbidden):
        await a_key(control, holder)
    with pytest.raises(Forbidden):
        await keys.rotate(old.key_id, overlap=timedelta(0), by=holder)


async def test_a_key_that_was_revoked_elsewhere_makes_none_meanwhile(
    control: Control, admin: Principal
) -> None:
    elsewhere, _ = other_daemon(control)
    maker = await a_key(control, admin, scopes=["keys", "read"])
    assert maker.key is not None
    holder = await elsewhere.authenticate(maker.key, address="a")
    await control.services.keys.revoke(maker.key_id, by=admin)
    wanted = KeyRequest("n", ["read"], "free")

    assert elsewhere.cached(maker.key, address="a") is not None
    with pytest.raises(Unauthenticated):
        await elsewhere.create(wanted, by=holder)


async def test_a_rotation_answers_until_when_the_former_secret_is_good(
    control: Control, admin: Principal
) -> None:
    keys = control.services.keys
    made = await a_key(control, admin)

    for hours in (1, 2):
        turned = await keys.rotate(made.key_id, overlap=timedelta(hours=hours), by=admin)

        until = as_datetime(control.clock.now_us()) + timedelta(hours=hours)
        shown = await keys.show(made.key_id, by=admin)
        assert turned.former_valid_until == until == shown.former_valid_until


async def test_a_key_that_ends_soon_is_told_of_once(control: Control, admin: Principal) -> None:
    await a_key(control, admin, name="long", lifetime=timedelta(days=90))
    await a_key(control, admin, name="short", lifetime=timedelta(hours=4))
    await a_key(control, admin, name="endless")
    store = KeyStore(control.database)
    expiring = ExpiringKeys(store, EventStore(control.database), clock=control.clock)

    async def told_after(**time: float) -> list[str]:
        control.clock.advance_s(timedelta(**time).total_seconds())
        for _ in range(2):
            await expiring.look()
        answer = await control.client.get(f"{API}/events", params={"type": "key.expiring"})
        return [event["data"]["name"] for event in answer.json()["events"]]

    assert await told_after(hours=2.9) == []
    assert await told_after(hours=0.2) == ["short"]
    assert await told_after(days=82) == ["short"]
    assert await told_after(days=2) == ["long", "short"]


async def test_a_pattern_of_other_letters_is_refused(control: Control, admin: Principal) -> None:
    with pytest.raises(Invalid) as caught:
        await a_key(control, admin, devices=["bus-[12]"])

    assert caught.value.errors[0]["pointer"] == "/devices/0"


async def test_a_use_is_stored_at_most_once_a_minute(control: Control, admin: Principal) -> None:
    keys = control.services.keys
    made = await a_key(control, admin)
    assert made.key is not None

    async def use(address: str) -> KeyView:
        assert made.key is not None
        await keys.authenticate(made.key, address=address)
        await keys.uses.write()
        return await keys.show(made.key_id, by=admin)

    used_at = as_datetime(control.clock.now_us())
    first = await use("10.0.0.1")
    control.clock.advance_s(30)
    second = await use("10.0.0.2")
    control.clock.advance_s(31)
    third = await use("10.0.0.3")

    assert (first.last_used_at, first.last_used_from) == (used_at, "10.0.0.1")
    assert second.last_used_from == "10.0.0.1"
    assert third.last_used_from == "10.0.0.3"


async def test_a_key_of_groups_only_sees_no_device_by_pattern(
    control: Control, admin: Principal
) -> None:
    made = await a_key(control, admin, groups=["depot"])
    assert made.key is not None
    holder = await control.services.keys.authenticate(made.key, address="a")

    assert not holder.sees_device("bus-1")
    assert not holder.sees_everything
