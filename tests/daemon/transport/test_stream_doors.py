"""Who may come through which door, how it is told why not, and what the first frames say."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import pytest
from daemons import DaemonProcess
from stream_clients import (
    STREAM,
    a_socket,
    close_code,
    events,
    frame_of,
    points_of,
    say,
    subscribed,
    write,
)
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

pytestmark = pytest.mark.anyio
CHANNEL = STREAM + "/telemetry"


async def a_key(daemon: DaemonProcess, *scopes: str, **options: object) -> str:
    wanted = {"name": "test", "scopes": scopes, "tier": "enterprise", **options}
    with daemon.http() as http:
        answer = http.post("/keys", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


async def a_ticket(daemon: DaemonProcess, **bound: str) -> str:
    with daemon.http() as http:
        answer = http.post("/tickets", json=bound)
    assert answer.status_code == 201, answer.text
    assert answer.json()["expires_in"] == 30
    return str(answer.json()["ticket"])


async def a_subscription(daemon: DaemonProcess, key: str = "", **wanted: object) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {key or daemon.key}"}
    with daemon.http() as http:
        answer = http.post("/subscribe", json=wanted, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, str] = answer.json()
    return made


# -- welcome -------------------------------------------------------------------------------------


async def test_a_socket_is_welcomed_with_its_id_and_limits(daemon: DaemonProcess) -> None:
    async with a_socket(daemon) as socket:
        frame = await frame_of(socket)

    assert frame["type"] == "welcome"
    assert set(frame) == {"type", "timestamp", "cursor", "data"}
    assert frame["data"]["connection_id"].startswith("con_")
    assert frame["data"]["protocol"] == "telemetry.v1"
    assert frame["data"]["heartbeat_s"] == 30


async def test_a_point_reaches_every_door_with_one_cursor(daemon: DaemonProcess) -> None:
    made = await a_subscription(daemon, device_ids=["every"])
    async with (
        a_socket(daemon) as in_band,
        a_socket(daemon, made["websocket_url"]) as by_id,
        a_socket(daemon, CHANNEL + "?device_ids=every") as by_path,
        events(daemon, "/telemetry?device_ids=every") as server_sent,
    ):
        await subscribed(in_band, devices=["every"])
        await frame_of(by_id, "subscribed")
        await frame_of(by_path, "subscribed")
        await server_sent.next("subscribed")
        await write(daemon, "every", 7)
        frames = [await frame_of(socket, "update") for socket in (in_band, by_id, by_path)]
        event, place, frame = await server_sent.next("update")

    assert event == "update"
    assert place == frame["cursor"]
    for other in frames:
        assert other["cursor"] == frame["cursor"]
        assert other["data"] == frame["data"]
    point = frame["data"]["data_points"][0]
    assert (point["device_id"], point["metric_name"], point["value"]) == ("every", "m", 7)


async def test_filters_in_the_address_and_in_band_mean_the_same(daemon: DaemonProcess) -> None:
    query = "?device_ids=f1,f2&metric_names=a&tag.site=north"
    async with a_socket(daemon) as in_band, a_socket(daemon, CHANNEL + query) as by_path:
        wanted = {"devices": ["f1", "f2"], "metrics": ["a"], "tags": {"site": "north"}}
        await subscribed(in_band, **wanted)
        await frame_of(by_path, "subscribed")
        await write(daemon, "f1", 1, metric="a")
        await write(daemon, "f1", 2, metric="b", tags={"site": "north"})
        await write(daemon, "f3", 3, metric="a", tags={"site": "north"})
        await write(daemon, "f2", 4, metric="a", tags={"site": "north", "floor": "1"})

        for socket in (in_band, by_path):
            assert [point["value"] for point in await points_of(socket, 1)] == [4]


async def test_several_channels_come_over_one_connection(daemon: DaemonProcess) -> None:
    async with a_socket(daemon) as socket:
        answer = await subscribed(socket, devices=["chan"], channels=["telemetry", "latest"])
        await frame_of(socket, "snapshot")
        await write(daemon, "chan", 5)
        datas = [(await frame_of(socket, "update"))["data"] for _ in range(2)]

    assert answer["data"]["channels"] == ["telemetry", "latest"]
    assert {key for data in datas for key in data} == {"data_points", "latest"}


# -- credentials ---------------------------------------------------------------------------------


async def test_without_a_credential_the_first_message_may_bring_it(daemon: DaemonProcess) -> None:
    async with a_socket(daemon, key="") as socket:
        await say(socket, "auth", token=daemon.key)

        assert (await frame_of(socket))["type"] == "welcome"


@pytest.mark.parametrize("first", ['{"action":"subscribe"}', "{", '{"action":"auth","token":"x"}'])
async def test_a_wrong_first_message_is_closed(daemon: DaemonProcess, first: str) -> None:
    async with a_socket(daemon, key="") as socket:
        await socket.send(first)
        code, frames = await close_code(socket)

    assert code == 4001
    assert frames[0]["type"] == "error"
    assert frames[0]["error"]["code"] == "AUTH_REQUIRED"


async def test_who_says_nothing_is_closed_after_five_seconds(daemon: DaemonProcess) -> None:
    async with a_socket(daemon, key="") as socket:
        code, _ = await close_code(socket, within_s=20)

    assert code == 4001


async def test_a_browser_sends_its_key_as_a_subprotocol(daemon: DaemonProcess) -> None:
    coded = base64.urlsafe_b64encode(daemon.key.encode()).decode().rstrip("=")
    offered = [Subprotocol("telemetry.v1"), Subprotocol(f"base64url.bearer.telemetry.{coded}")]
    async with a_socket(daemon, key="", subprotocols=offered) as socket:
        assert socket.subprotocol == "telemetry.v1"
        assert (await frame_of(socket))["type"] == "welcome"


@pytest.mark.parametrize("path", ["/ws?token={}", CHANNEL + "?token={}"])
async def test_a_key_in_the_address_is_taken_and_never_logged(
    daemon: DaemonProcess, path: str
) -> None:
    async with a_socket(daemon, path.format(daemon.key), key="") as socket:
        assert (await frame_of(socket))["type"] == "welcome"
    async with a_socket(daemon, path.format("tlm_live_no"), key="") as socket:
        assert (await close_code(socket))[0] == 4001
    async with events(daemon, f"/telemetry?token={daemon.key}", key="") as server_sent:
        await server_sent.next("welcome")

    assert daemon.key not in json.dumps(daemon.log)
    assert "token=" not in json.dumps(daemon.log)


async def test_a_wrong_key_is_accepted_then_closed(daemon: DaemonProcess) -> None:
    async with a_socket(daemon, key="tlm_live_nobody") as socket:
        code, frames = await close_code(socket)

    assert (code, frames[-1]["error"]["code"]) == (4001, "AUTH_REQUIRED")


@pytest.mark.parametrize("path", ["/ws", CHANNEL])
async def test_a_key_without_the_scope_is_closed_with_4003(
    daemon: DaemonProcess, path: str
) -> None:
    async with a_socket(daemon, path, key=await a_key(daemon, "ingest")) as socket:
        assert (await close_code(socket))[0] == 4003


@pytest.mark.parametrize(("path", "bound"), [
    ("/ws", {}), (CHANNEL, {}), (CHANNEL, {"channel": "telemetry"}),
])  # fmt: skip
async def test_a_ticket_opens_one_stream_once(
    daemon: DaemonProcess, path: str, bound: dict[str, str]
) -> None:
    ticket = await a_ticket(daemon, **bound)
    async with a_socket(daemon, f"{path}?ticket={ticket}", key="") as socket:
        assert (await frame_of(socket))["type"] == "welcome"
    async with a_socket(daemon, f"{path}?ticket={ticket}", key="") as socket:
        assert (await close_code(socket))[0] == 4001
    async with events(daemon, f"/telemetry?ticket={ticket}", key="") as server_sent:
        assert server_sent.response.status_code == 401

    assert ticket not in json.dumps(daemon.log)


async def test_a_ticket_for_another_stream_is_used_up_and_refused(daemon: DaemonProcess) -> None:
    ticket = await a_ticket(daemon, channel="events")
    for path in (CHANNEL, STREAM + "/events"):
        async with a_socket(daemon, f"{path}?ticket={ticket}", key="") as socket:
            assert (await close_code(socket))[0] == 4001


async def test_a_subscription_of_another_key_is_unknown(daemon: DaemonProcess) -> None:
    one, other = await a_key(daemon, "read"), await a_key(daemon, "read")
    made = await a_subscription(daemon, one, device_ids=["d"])
    async with a_socket(daemon, made["websocket_url"], key=other) as socket:
        code, frames = await close_code(socket)
    headers = {"Authorization": f"Bearer {other}"}
    with daemon.http() as http:
        gone = http.delete(f"/subscribe/{made['subscription_id']}", headers=headers)

    assert (code, frames[-1]["error"]["code"]) == (4004, "unknown_subscription")
    assert gone.status_code == 404
    async with a_socket(daemon, made["websocket_url"], key=one) as socket:
        await frame_of(socket, "subscribed")


async def test_a_bound_key_is_sent_only_what_it_may_see(daemon: DaemonProcess) -> None:
    key = await a_key(daemon, "read", devices=["mine-*"], metrics=["a"])
    async with a_socket(daemon, key=key) as socket:
        await subscribed(socket)
        await write(daemon, "theirs-1", 1, metric="a")
        await write(daemon, "mine-1", 2, metric="b")
        await write(daemon, "mine-1", 3, metric="a")

        assert [point["value"] for point in await points_of(socket, 1)] == [3]


# -- origins -------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_page_of_another_origin_is_refused_before_the_upgrade(
    daemon: DaemonProcess, origin: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with a_socket(daemon, headers={"Origin": origin}):
            pass

    assert refused.value.response.status_code == 403
    async with events(daemon, headers={"Origin": origin}) as server_sent:
        assert server_sent.response.status_code == 403


async def test_a_page_of_the_daemon_itself_is_let_in(daemon: DaemonProcess) -> None:
    async with a_socket(daemon, headers={"Origin": daemon.url}) as socket:
        assert (await frame_of(socket))["type"] == "welcome"


# -- what there is not ---------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "code", "said"), [
    ("/nowhere", 4004, "INVALID_ENDPOINT"),
    (STREAM + "/nothing", 4004, "INVALID_ENDPOINT"),
    (STREAM + "/overview", 1013, "STREAM_UNAVAILABLE"),
    ("/ws/telemetry/sub_0000000000", 4004, "unknown_subscription"),
    (CHANNEL + "?max_frequency=5", 1008, "bad_max_frequency"),
    (CHANNEL + "?max_frequency=soon", 1008, "bad_max_frequency"),
    (CHANNEL + "?device_ids=a%20b", 1008, "bad_name"),
    (CHANNEL + "?cursor=zzz", 1008, "bad_cursor"),
    (CHANNEL + "?groups=nobody", 1008, "unknown_group"),
])  # fmt: skip
async def test_what_can_not_be_streamed_is_said_and_closed(
    daemon: DaemonProcess, path: str, code: int, said: str
) -> None:
    async with a_socket(daemon, path) as socket:
        closed, frames = await close_code(socket)

    assert (closed, frames[-1]["error"]["code"]) == (code, said)


@pytest.mark.parametrize(("path", "status", "code"), [
    ("/nothing", 422, "unknown_channel"),
    ("/overview", 503, "stream_unavailable"),
    ("/telemetry?max_frequency=5", 422, "bad_max_frequency"),
    ("/telemetry?max_frequency=soon", 400, "bad_max_frequency"),
    ("/telemetry?cursor=zzz", 400, "bad_cursor"),
    ("/telemetry?device_ids=" + ",".join(f"d{n}" for n in range(101)), 422, "too_many_devices"),
])  # fmt: skip
async def test_server_sent_events_that_can_not_begin_are_problems(
    daemon: DaemonProcess, path: str, status: int, code: str
) -> None:
    async with events(daemon, path) as server_sent:
        problem = json.loads(await server_sent.response.aread())

    assert server_sent.response.headers["content-type"] == "application/problem+json"
    assert (server_sent.response.status_code, problem["code"]) == (status, code)
    assert server_sent.response.headers["x-request-id"] == problem["request_id"]


async def test_server_sent_events_are_for_who_takes_them(daemon: DaemonProcess) -> None:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with httpx.AsyncClient(base_url=daemon.url, headers=headers) as http:
        as_json = await http.get(CHANNEL, headers={"Accept": "application/json"})
        posted = await http.post(CHANNEL)
        unknown = await http.get(CHANNEL, headers={"Authorization": "Bearer nobody"})

    assert (as_json.status_code, posted.status_code, unknown.status_code) == (406, 405, 401)
    assert posted.headers["allow"] == "GET"


async def test_who_is_cut_off_behind_the_welcome_resumes_from_where_it_asked(
    daemon: DaemonProcess,
) -> None:
    await write(daemon, "cut", 1)
    async with events(daemon, "/telemetry") as sent:
        cursor = (await sent.next("subscribed"))[1]
        await write(daemon, "cut", 2)
        await sent.next("update")
    async with events(daemon, f"/telemetry?cursor={cursor}") as sent:
        _, of_welcome, _ = await sent.next("welcome")
        _, of_subscribed, _ = await sent.next("subscribed")

    assert (of_welcome, of_subscribed) == ("", cursor)


async def test_server_sent_events_pass_proxies_as_they_come(daemon: DaemonProcess) -> None:
    async with events(daemon) as server_sent:
        headers = server_sent.response.headers

    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["referrer-policy"] == "no-referrer"
    assert "x-request-id" in headers


# -- in-band -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "code"), [
    ("{", "bad_json"), ("[]", "bad_json"), ("{}", "unknown_action"),
    ('{"action":"subscribe","devices":["a b"]}', "bad_name"),
    ('{"action":"subscribe","devices":"a"}', "bad_list"),
    ('{"action":"subscribe","deviced":["a"]}', "unknown_field"),
    ('{"action":"subscribe","max_frequency":99}', "bad_max_frequency"),
    ('{"action":"subscribe","max_frequency":10001}', "bad_max_frequency"),
    ('{"action":"subscribe","channels":["nope"]}', "INVALID_ENDPOINT"),
    ('{"action":"subscribe","channels":["jobs"]}', "STREAM_UNAVAILABLE"),
    ('{"action":"subscribe","resume":"x"}', "bad_cursor"),
    ('{"action":"subscribe","groups":["nobody"]}', "unknown_group"),
    ('{"action":"unsubscribe"}', "not_subscribed"),
])  # fmt: skip
async def test_a_wrong_action_is_answered_and_the_socket_stays(
    daemon: DaemonProcess, message: str, code: str
) -> None:
    async with a_socket(daemon) as socket:
        await socket.send(message)
        frame = await frame_of(socket, "error")
        await say(socket, "ping")

        assert frame["error"]["code"] == code
        assert await frame_of(socket, "pong")


@pytest.mark.parametrize("message", ['{"action":"pong"}', '{"type":"pong"}'])
async def test_a_client_may_answer_heartbeats(daemon: DaemonProcess, message: str) -> None:
    async with a_socket(daemon) as socket:
        await frame_of(socket, "welcome")
        await socket.send(message)
        await say(socket, "ping")

        # Heartbeats of the server may come between.
        assert (await frame_of(socket, "pong", "error"))["type"] == "pong"


async def test_unsubscribed_devices_are_sent_no_more(daemon: DaemonProcess) -> None:
    async with a_socket(daemon) as socket:
        await subscribed(socket, devices=["u1", "u2"])
        await say(socket, "unsubscribe", devices=["u1"])
        rest = await frame_of(socket, "subscribed")
        await write(daemon, "u1", 1)
        await write(daemon, "u2", 2)
        values = [point["value"] for point in await points_of(socket, 1)]
        await say(socket, "unsubscribe", devices=["u2"])
        nothing = await frame_of(socket, "subscribed")

    assert values == [2]
    assert rest["data"]["channels"] == ["telemetry"]
    assert nothing["data"]["channels"] == []


async def test_a_subscription_asked_for_twice_is_one(daemon: DaemonProcess) -> None:
    async with a_socket(daemon) as socket:
        first = await subscribed(socket, devices=["twice"])
        again = await subscribed(socket, devices=["twice"])
        await write(daemon, "twice", 1)
        await write(daemon, "twice", 2)
        values = [point["value"] for point in await points_of(socket, 2)]

    assert first["data"]["subscription_id"] == again["data"]["subscription_id"]
    assert values == [1, 2]


async def test_a_stream_has_a_hundred_subscriptions_at_most(daemon: DaemonProcess) -> None:
    async with a_socket(daemon) as socket:
        answers = []
        for number in range(101):
            answers.append(await subscribed(socket, devices=[f"n{number}"]))
            await asyncio.sleep(0.1 if number > 15 else 0)

    assert [answer["type"] for answer in answers] == ["subscribed"] * 100 + ["error"]
    assert answers[-1]["error"]["code"] == "too_many_subscriptions"


async def test_a_cancelled_subscription_closes_its_socket(daemon: DaemonProcess) -> None:
    made = await a_subscription(daemon, device_ids=["d"])
    async with a_socket(daemon, made["websocket_url"]) as socket:
        await frame_of(socket, "subscribed")
        with daemon.http() as http:
            answer = http.delete(f"/subscribe/{made['subscription_id']}")
            again = http.delete(f"/subscribe/{made['subscription_id']}")
        code, _ = await close_code(socket)
    async with a_socket(daemon, made["websocket_url"]) as socket:
        after, _ = await close_code(socket)

    assert answer.json()["success"] is True
    assert again.status_code == 404
    assert (code, after) == (4004, 4004)


async def test_what_can_not_be_subscribed_to_is_refused_over_http(daemon: DaemonProcess) -> None:
    bodies: list[dict[str, object]] = [
        {"max_frequency": 99}, {"max_frequency": 10_001}, {"channels": ["nope"]},
        {"device_ids": [f"d{n}" for n in range(101)]}, {"groups": ["nobody"]}, {"nope": 1},
    ]  # fmt: skip
    with daemon.http() as http:
        statuses = [http.post("/subscribe", json=body).status_code for body in bodies]
        later = http.post("/subscribe", json={"channels": ["overview"]})

    assert statuses == [422] * len(bodies)
    assert later.status_code == 503


async def test_both_sides_may_end_a_socket(daemon: DaemonProcess) -> None:
    async with a_socket(daemon) as socket:
        await frame_of(socket)
        await socket.close(1000)

        assert (await close_code(socket))[0] == 1000
        assert socket.close_code == 1000
