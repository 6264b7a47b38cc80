"""Messages are framed for each kind of socket, once."""

from __future__ import annotations

import orjson
import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from daemon.domain.cursors import Cursor
from daemon.live.message import frame, told, websocket_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
def test_a_client_reads_the_frame_that_was_written(size: int) -> None:
    client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    body = b"x" * size

    client.receive_data(websocket_frame(body))

    (event,) = client.events_received()
    assert isinstance(event, Frame)
    assert (event.opcode, event.fin, bytes(event.data)) == (Opcode.TEXT, True, body)


def test_the_envelope_is_that_of_the_contract() -> None:
    cursor = Cursor("e", 5, 2)
    message = told("warning", timestamp="2025-12-18T12:00:00Z", cursor=cursor, data={"dropped": 1})

    assert orjson.loads(message.body) == {
        "type": "warning",
        "timestamp": "2025-12-18T12:00:00Z",
        "cursor": "e-5.2",
        "data": {"dropped": 1},
    }
    assert message.cursor == "e-5.2"


def test_an_error_has_no_data_and_a_place_is_left_out_when_there_is_none() -> None:
    error = {"code": "AUTH_REQUIRED", "message": "who are you"}
    message = told("error", timestamp="t", cursor=None, data=error)

    assert orjson.loads(message.body) == {"type": "error", "timestamp": "t", "error": error}
    assert b"id:" not in message.sse


def test_a_server_sent_event_names_type_and_place() -> None:
    message = frame("update", timestamp="t", cursor=Cursor("e", 5), data=b'{"data_points":[]}')
    ping = frame("ping", timestamp="t", cursor=Cursor("e", 5), data=b"{}")

    assert message.sse == b"event: update\nid: e-5\ndata: " + message.body + b"\n\n"
    assert ping.sse.startswith(b"event: heartbeat\n")


def test_framing_is_done_once() -> None:
    message = frame("update", timestamp="t", cursor=None, data=b"{}")

    assert message.websocket is message.websocket
    assert message.sse is message.sse
