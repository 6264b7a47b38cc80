"""Following a stream through losses, refusals and slow times: against real sockets that speak the
contract's frames, and misbehave on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from telemetryctl.client import follow as follow_module
from telemetryctl.client.credential import Credential
from telemetryctl.client.doors import Endpoint, Wanted
from telemetryctl.client.follow import Batch, Event, Follower, Loss, Notice, Pace
from telemetryctl.client.stream_poll import PollDoor
from telemetryctl.client.stream_sse import SseDoor
from telemetryctl.client.stream_ws import WebSocketDoor
from telemetryctl.client.wire import Wire
from telemetryctl.failures import NotAllowed, TryLater

QUICK = Pace(
    delays_s=(0.02, 0.04), jitter=0.2, failures_max=4, poll_s=0.1, probe_s=0.3, settled_s=0.1
)
WITHIN_S = 100.0


def frame(kind: str, at: int, **data: Any) -> str:
    document = {"type": kind, "timestamp": "2026-11-21T10:00:00Z", "cursor": f"e-{at}"}
    return json.dumps({**document, "data": data})


def point(number: int) -> dict[str, Any]:
    stamp = f"2026-11-21T10:00:00.{number:06d}Z"
    return {"timestamp": stamp, "device_id": "d", "metric_name": "m", "value": number}


@dataclass
class Server:
    """A stream of the points 1, 2, 3 … `head`, the cursor of each being its number.

    `script` is called for every frame that a socket is about to send, with its number; it returns
    whether the connection goes on. `refuses` names doors that are not there.
    """

    head: int = 0
    refuses: set[str] = field(default_factory=set)
    is_away: bool = False
    script: Callable[[ServerConnection, int], bool] = lambda _connection, _number: True
    resumes: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    ws_port: int = 0
    http_port: int = 0

    # -- WebSocket ---------------------------------------------------------------------------

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.asked.append("ws")
        assert request.headers["Authorization"] == "Bearer secret"
        assert "secret" not in request.path
        if self.is_away:
            return connection.respond(502, "away\n")
        return connection.respond(403, "no\n") if "ws" in self.refuses else None

    def talk(self, connection: ServerConnection) -> None:
        connection.send(frame("welcome", self.head, connection_id="con_1"))
        asked = json.loads(connection.recv())
        assert asked["action"] == "subscribe"
        resume = asked.get("resume", "")
        at = int(resume.split("-")[1]) if resume else self.head
        self.resumes.append(resume)
        connection.send(frame("subscribed", at, recovered=bool(resume), head=f"e-{self.head}"))
        try:
            while not self.is_away:
                if at < self.head:
                    at += 1
                    if not self.script(connection, at):
                        return
                    connection.send(frame("update", at, data_points=[point(at)]))
                else:
                    time.sleep(0.005)
        except ConnectionClosed:
            return

    # -- HTTP --------------------------------------------------------------------------------

    def sse(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append("sse")
        if "sse" in self.refuses:
            return self.answer(handler, 404, {"detail": "no such path", "code": "not_found"})
        resume = handler.headers.get("Last-Event-ID", "")
        at = int(resume.split("-")[1]) if resume else self.head
        self.resumes.append(resume)
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.end_headers()
        said = frame("subscribed", at, recovered=bool(resume), head=f"e-{self.head}")
        handler.wfile.write(b"retry: 3000\n\n: hello\n\n" + event("subscribed", at, said))
        while "sse" not in self.refuses and not self.is_away:
            if at < self.head:
                at += 1
                update = frame("update", at, data_points=[point(at)])
                handler.wfile.write(event("update", at, update))
            else:
                time.sleep(0.005)
        return None

    def changes(self, handler: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        self.asked.append("poll")
        if self.is_away:
            return self.answer(handler, 503, {"detail": "away", "code": "draining"})
        after = query["after"][0]
        at = self.head if after == "now" else int(after.split("-")[1])
        deadline_s = time.monotonic() + float(query.get("wait", ["0"])[0])
        while at >= self.head and time.monotonic() < deadline_s:
            time.sleep(0.005)
        points = [point(n) for n in range(at + 1, self.head + 1)]
        body = {"data_points": points, "cursor": f"e-{at + len(points)}", "gap": None}
        return self.answer(handler, 200, body)

    def answer(self, handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def endpoint(self, port: int) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{port}", Credential("secret"))

    def follower(self, *, after: str = "", doors: str = "ws sse poll") -> Follower:
        """A follower over these doors, with short delays."""
        wanted = Wanted(metrics=("m",))
        wire = Wire(f"http://127.0.0.1:{self.http_port}", token="secret")
        poll = PollDoor(wire, wanted, pause_s=0.01, pause_max_s=0.05)
        known = {
            "ws": WebSocketDoor(self.endpoint(self.ws_port), wanted),
            "sse": SseDoor(self.endpoint(self.http_port), wanted),
            "poll": poll,
        }
        chosen: list[Any] = [known[name] for name in doors.split()]
        return Follower(chosen, poll, cursor=after, pace=QUICK)


def event(kind: str, at: int, text: str) -> bytes:
    return f"event: {kind}\nid: e-{at}\ndata: {text}\n\n".encode()


@contextmanager
def a_server() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            assert self.headers["Authorization"] == "Bearer secret"
            try:
                if parts.path.endswith("/changes"):
                    server.changes(self, parse_qs(parts.query))
                else:
                    server.sse(self)
            except OSError:
                return

        def log_message(self, *_arguments: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    sockets = serve(server.talk, "127.0.0.1", 0, process_request=server.check, compression=None)
    server.http_port = http.server_address[1]
    server.ws_port = sockets.socket.getsockname()[1]
    threads = [threading.Thread(target=s.serve_forever, daemon=True) for s in (http, sockets)]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        server.is_away = True
        http.shutdown()
        http.server_close()
        sockets.shutdown()


@pytest.fixture
def server() -> Iterator[Server]:
    with a_server() as running:
        yield running


@dataclass
class Seen:
    """What a follower has told so far."""

    values: list[int] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def take(self, event: Event) -> None:
        match event:
            case Batch():
                self.values += [p["value"] for p in event.points]
            case Notice():
                self.notices.append(event.text)
            case Loss():
                self.losses.append(event)

    @property
    def told(self) -> str:
        return "\n".join(self.notices)


def follow(follower: Follower, until: Callable[[Seen], bool]) -> Seen:
    """Read events until the condition holds."""
    seen = Seen()
    deadline_s = time.monotonic() + WITHIN_S
    try:
        for found in follower.events(lambda: 0.05):
            seen.take(found)
            if until(seen):
                break
            assert time.monotonic() < deadline_s, seen
    finally:
        follower.close()
    return seen


def sending(server: Server, count: int, *, pause_s: float = 0.002) -> threading.Thread:
    """Let the head grow to `count` from now on."""

    def run() -> None:
        while server.head < count:
            time.sleep(pause_s)
            server.head += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def closing(code: int, *, at: int) -> Callable[[ServerConnection, int], bool]:
    """Close with the code instead of sending this point."""

    def script(connection: ServerConnection, number: int) -> bool:
        if number != at:
            return True
        connection.close(code, "no")
        return False

    return script


@pytest.mark.parametrize("doors", ["ws", "sse", "poll"])
def test_each_point_comes_once_and_in_order(server: Server, doors: str) -> None:
    server.head = 100
    follower = server.follower(after="e-0", doors=doors)
    sending(server, 300)

    seen = follow(follower, lambda s: len(s.values) >= 300)

    assert seen.values == list(range(1, 301))
    assert seen.notices == []
    assert follower.cursor == "e-300"


def test_a_dropped_socket_is_resumed_behind_the_last_point(server: Server) -> None:
    drops = iter([20, 50, 50])
    next_drop = [next(drops)]

    def drop(connection: ServerConnection, number: int) -> bool:
        if number == next_drop[0]:
            next_drop[0] = next(drops, 0)
            connection.socket.close()
            return False
        return True

    server.script = drop
    server.head = 100
    follower = server.follower(after="e-0", doors="ws")

    seen = follow(follower, lambda s: len(s.values) >= 100)

    assert seen.values == list(range(1, 101))
    assert server.resumes[0] == "e-0"
    assert server.resumes[1] == "e-19"
    assert "connection lost; resuming in 0 s (attempt 1)" in seen.told


def test_what_was_caught_up_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # It has caught up where the stream ends, and not when a server that is held up says nothing.
    monkeypatch.setattr(follow_module, "LEVEL_AFTER_S", 60.0)
    server.script = closing(1012, at=11)

    def until(seen: Seen) -> bool:
        if server.resumes:
            server.head = max(server.head, 11)
        if seen.notices:
            server.head = 41
            server.script = lambda _connection, _number: True
        return "caught up" in seen.told

    seen = follow(server.follower(doors="ws"), until)

    assert seen.notices[-1] == "resumed; 31 points caught up, none lost"


def test_a_refused_upgrade_goes_on_with_events_and_then_by_polling(server: Server) -> None:
    server.head = 10
    server.refuses = {"ws"}
    follower = server.follower(after="e-0")
    first = follow(follower, lambda s: len(s.values) >= 10)
    server.refuses = {"ws", "sse"}
    server.head = 20

    second = follow(follower, lambda s: len(s.values) >= 10)

    assert first.values + second.values == list(range(1, 21))
    assert "ws does not work here (the upgrade was answered with 403); using sse" in first.told
    assert "sse does not work here (no such path); using poll" in second.told


def test_it_goes_back_to_the_better_door_when_that_works(server: Server) -> None:
    server.refuses = {"ws", "sse"}
    server.head = 5
    follower = server.follower(after="e-0")
    sending(server, 3_000, pause_s=0.001)

    def until(seen: Seen) -> bool:
        if len(seen.values) > 50:
            server.refuses.discard("ws")
        return "ws works again" in seen.told and len(seen.values) > 500

    seen = follow(follower, until)

    assert seen.values == list(range(1, len(seen.values) + 1))
    assert server.asked[-1] == "ws"


def test_after_many_failures_it_polls_and_comes_back(server: Server) -> None:
    follower = server.follower(after="e-0")
    server.head = 3
    seen = follow(follower, lambda s: len(s.values) >= 3)
    server.is_away = True

    def until(now: Seen) -> bool:
        if "polling from now on" in now.told:
            server.head, server.is_away = 6, False
        return "ws works again" in now.told and len(now.values) >= 3

    again = follow(follower, until)

    assert seen.values + again.values == [1, 2, 3, 4, 5, 6]
    assert "4 attempts failed; polling from now on" in again.told


def test_a_server_that_was_never_there_ends_it(server: Server) -> None:
    server.is_away = True

    with pytest.raises(TryLater, match="can't be reached"):
        follow(server.follower(), lambda _: False)


@pytest.mark.parametrize("code", [4001, 4003])
def test_a_refused_key_ends_it(server: Server, code: int) -> None:
    server.script = closing(code, at=1)
    server.head = 1

    with pytest.raises(NotAllowed):
        follow(server.follower(after="e-0"), lambda _: False)


def test_an_error_frame_can_send_it_to_another_door(server: Server) -> None:
    def unavailable(connection: ServerConnection, _number: int) -> bool:
        error = {"code": "STREAM_UNAVAILABLE", "message": "not today"}
        connection.send(json.dumps({"type": "error", "timestamp": "", "error": error}))
        return True

    server.script = unavailable
    server.head = 5

    seen = follow(server.follower(after="e-0"), lambda s: len(s.values) >= 5)

    assert seen.values == [1, 2, 3, 4, 5]
    assert "ws does not work here (not today); using sse" in seen.told


def test_what_a_slow_socket_left_out_is_read_by_request(server: Server) -> None:
    def leave_out(connection: ServerConnection, number: int) -> bool:
        if number == 10:
            said = {"from": "e-9", "to": "e-40", "points": 31, "reason": "slow_consumer"}
            connection.send(frame("warning", 40, dropped=31))
            connection.send(frame("gap", 40, **said))
        return number not in range(10, 41)

    server.script = leave_out
    server.head = 60

    seen = follow(server.follower(after="e-0", doors="ws"), lambda s: len(s.values) >= 60)

    assert seen.values == list(range(1, 61))
    assert seen.losses == []
    assert "poll" in server.asked


def test_a_real_loss_is_told_with_its_range(server: Server) -> None:
    def expire(connection: ServerConnection, number: int) -> bool:
        if number == 1:
            gap = {"from": "e-0", "to": "e-20", "reason": "expired", "points": 20}
            connection.send(frame("gap", 20, **gap))
        return True

    server.script = expire
    server.head = 3

    seen = follow(server.follower(after="e-0", doors="ws"), lambda s: bool(s.losses))

    assert seen.losses == [Loss("e-0", "e-20", "expired", 20)]


def test_rubbish_is_a_lost_connection(server: Server) -> None:
    texts = ["no json", "[]", '{"type": 5}', "{}"]

    def rubbish(connection: ServerConnection, number: int) -> bool:
        if number % 2 and texts:
            connection.send(texts.pop())
            return False
        return True

    server.script = rubbish
    server.head = 10

    seen = follow(server.follower(after="e-0", doors="ws"), lambda s: len(s.values) >= 10)

    assert seen.values == list(range(1, 11))
    assert seen.told.count("attempt") == 4


def test_the_delays_are_those_of_the_contract() -> None:
    pace = Pace(jitter=0)

    assert [pace.delay_s(n) for n in range(1, 9)] == [3, 6, 12, 24, 48, 60, 60, 60]
    assert all(2.4 <= Pace().delay_s(1) <= 3.6 for _ in range(100))
    assert (pace.failures_max, pace.poll_delay_s()) == (10, 30)
