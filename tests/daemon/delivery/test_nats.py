"""Publishing to a real nats-server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.js import api
from nats_servers import NatsServer, connected, nats_server, stream_of

from daemon.delivery.nats import ON_THE_WAY_MAX, NatsLogin, NatsPublisher, NatsUnavailable
from daemon.domain.cloud_events import CloudEvent
from daemon.domain.errors import TryLater

pytestmark = pytest.mark.anyio
NOON = datetime(2025, 12, 18, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.delivery.nats.CONNECT_TIMEOUT_S", 30)
    monkeypatch.setattr("daemon.delivery.nats.ANSWER_TIMEOUT_S", 30.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path) as running:
        yield running


def a_cloud_event(at: int, type: str = "metric.defined", data: bytes = b"{}") -> CloudEvent:
    return CloudEvent(f"evt_{at}", type, "urn:telemetry:e", NOON, data, b'{"short":1}', "tank é%")


async def test_events_are_stored_in_order_under_their_subjects(server: NatsServer) -> None:
    publisher = NatsPublisher(NatsLogin(server.url))
    wanted = [a_cloud_event(at) for at in range(ON_THE_WAY_MAX + 10)]
    wanted.append(a_cloud_event(9_998, "alert.rule.created"))
    wanted.append(a_cloud_event(9_999, "device.deleted"))

    await publisher.connect()
    await publisher.publish(wanted)
    await publisher.close()
    found = await stream_of(server, until="evt_9999")

    assert [message.id for message in found] == [event.id for event in wanted]
    assert [message.subject for message in found[-3:]] == [
        "metric.defined", "alert.rule.created", "telemetry.event.device.deleted",
    ]  # fmt: skip
    assert found[0].headers == {
        "Nats-Msg-Id": "evt_0",
        "ce-specversion": "1.0",
        "ce-id": "evt_0",
        "ce-source": "urn:telemetry:e",
        "ce-type": "metric.defined",
        "ce-time": "2025-12-18T12:00:00Z",
        "ce-datacontenttype": "application/json",
        "ce-subject": "tank%20%C3%A9%25",
    }


async def test_what_is_sent_again_is_stored_once(server: NatsServer) -> None:
    publisher = NatsPublisher(NatsLogin(server.url))
    await publisher.connect()
    await publisher.publish([a_cloud_event(1)])
    await publisher.publish([a_cloud_event(1), a_cloud_event(2)])
    await publisher.close()

    found = await stream_of(server, until="evt_2")

    assert [message.id for message in found] == ["evt_1", "evt_2"]


async def test_a_stream_that_is_there_is_left_as_it_is(server: NatsServer) -> None:
    async with connected(server) as client:
        own = api.StreamConfig(name="TELEMETRY", subjects=["metric.>"], max_msgs=5)
        await client.jetstream().add_stream(own)
    publisher = NatsPublisher(NatsLogin(server.url))
    await publisher.connect()
    await publisher.publish([a_cloud_event(at) for at in range(7)])

    with pytest.raises(NatsUnavailable, match="no response from stream"):
        await publisher.publish([a_cloud_event(8, "alert.triggered")])
    async with connected(server) as client:
        info = await client.jetstream().stream_info("TELEMETRY")
    await publisher.close()

    assert (info.config.subjects, info.state.messages) == (["metric.>"], 5)


async def test_a_stream_of_another_name_with_our_subjects_will_do(server: NatsServer) -> None:
    async with connected(server) as client:
        await client.jetstream().add_stream(name="ALL", subjects=[">"], no_ack=True)
    publisher = NatsPublisher(NatsLogin(server.url))

    await publisher.connect()

    assert publisher.is_connected
    await publisher.close()


async def test_a_message_too_large_for_the_way_goes_without_its_data(server: NatsServer) -> None:
    large = b'{"x":"' + b"y" * (1 << 20) + b'"}'
    publisher = NatsPublisher(NatsLogin(server.url))
    await publisher.connect()
    await publisher.publish([a_cloud_event(1, data=large), a_cloud_event(2)])
    await publisher.close()

    found = await stream_of(server, until="evt_2")

    assert [message.body for message in found] == [{"short": 1}, {}]


async def test_a_message_too_large_for_the_stream_holds_nothing_up(server: NatsServer) -> None:
    async with connected(server) as client:
        own = api.StreamConfig(name="TELEMETRY", subjects=["metric.>"], max_msg_size=400)
        await client.jetstream().add_stream(own)
    large = b'{"x":"' + b"y" * 1_000 + b'"}'
    publisher = NatsPublisher(NatsLogin(server.url))
    await publisher.connect()
    await publisher.publish([a_cloud_event(1, data=large), a_cloud_event(2)])
    await publisher.close()

    found = await stream_of(server, until="evt_2")

    assert {message.id: message.body for message in found} == {"evt_1": {"short": 1}, "evt_2": {}}


async def test_a_server_that_goes_away_is_said_and_found_again(server: NatsServer) -> None:
    publisher = NatsPublisher(NatsLogin(server.url))
    await publisher.connect()
    await publisher.publish([a_cloud_event(1)])
    server.kill()

    with pytest.raises(NatsUnavailable):
        await publisher.publish([a_cloud_event(2)])
    with pytest.raises(NatsUnavailable):
        await publisher.connect()
    server.start()
    await publisher.connect()
    await publisher.publish([a_cloud_event(2)])
    await publisher.close()

    assert [message.id for message in await stream_of(server, until="evt_2")] == ["evt_1", "evt_2"]


async def test_a_refused_login_says_so_without_its_secret(tmp_path: Path) -> None:
    # For who is slow to say who it is, the server would have another refusal.
    config = tmp_path / "nats.conf"
    config.write_text("authorization { user: ana, password: s3cret, timeout: 60 }")
    with nats_server(tmp_path, "--config", str(config)) as server:
        wrong = NatsPublisher(NatsLogin(server.url, user="ana", password="wr0ng"))
        in_url = NatsPublisher(NatsLogin(server.url.replace("//", "//ana:wr0ng@")))
        right = NatsPublisher(NatsLogin(server.url, user="ana", password="s3cret"))
        errors = []
        for publisher in (wrong, in_url):
            with pytest.raises(TryLater) as refused:
                await publisher.connect()
            errors.append(str(refused.value))
        await right.connect()

        assert right.is_connected
        assert all("Authorization" in text and "wr0ng" not in text for text in errors), errors
        await right.close()
