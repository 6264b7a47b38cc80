"""Hostile input over a real socket: clear 4xx, memory flat, and PostgreSQL never sees any of it."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import httpx
import lz4.frame
import psutil
import pytest
import zstandard
from daemons import API, DaemonProcess, start_daemon, started
from databases import fresh_database
from hostile_corpus import SHAPES, TEXTS, a_point, bodies
from servers import PostgresServer, start_server, wheel_bindir

from daemon.faults import Point

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]
MIB = 2**20
GROWTH_BYTES_MAX = 40 * MIB
PASSES_MAX = 4
STATE = re.compile(r"(?:ERROR|FATAL|PANIC):\s+((?:22|42)[0-9A-Z]{3}):")


def states_in(text: str) -> list[str]:
    """SQLSTATEs of class 22 (data) and 42 (our SQL is wrong) in the log of a server."""
    return STATE.findall(text)


@pytest.fixture(scope="module")
def hostile(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    """A daemon that is asked terrible things; at the end the log of its server is read."""
    before = len(postgres.log)
    daemon = start_daemon(asyncio.run(fresh_database(postgres)))
    with daemon.http() as http:
        for kind in ("numeric", "string", "boolean", "json", "geolocation", "binary"):
            made = http.post("/metrics", json={"name": f"a_{kind}", "data_type": kind})
            assert made.status_code == 201
        http.post("/devices/d1/telemetry", json=a_point(1))
    yield daemon
    assert daemon.stop() == 0
    assert states_in(postgres.log[before:]) == []
    assert [line for line in daemon.log if line["event"] == "request_failed"] == []


def memory_of(daemon: DaemonProcess) -> int:
    return psutil.Process(daemon.process.pid).memory_info().rss


def peak_of(daemon: DaemonProcess) -> int:
    """The most memory it has ever had (proc(5), VmHWM)."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


# -- bodies (S-19, S-20, F-28) -------------------------------------------------------------------

POSTS = [
    "/devices/d1/telemetry",
    "/devices/d1/telemetry/batch",
    "/bulk",
    "/columns",
    "/query",
    "/metrics",
    "/keys",
]


async def asked(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """The answer; asked again when a machine that has too much to do could not give it just now."""
    for _ in range(5):
        answer = await http.request(method, path, **options)
        if answer.status_code != 503:
            break
        await asyncio.sleep(1)
    return answer


async def statuses(daemon: DaemonProcess, requests: list[tuple[str, str, Any]]) -> Counter[int]:
    """Send them all, some at a time; a problem that is none, or a 5xx, fails at once."""
    found: Counter[int] = Counter()
    waiting = iter(requests)

    async def send(http: httpx.AsyncClient) -> None:
        for method, path, options in waiting:
            answer = await asked(http, method, path, **options)
            found[answer.status_code] += 1
            assert answer.status_code < 500, (method, path, str(options)[:300], answer.text[:300])
            if answer.status_code >= 400:
                problem = answer.json()
                assert answer.headers["content-type"] == "application/problem+json"
                assert isinstance(problem["detail"], str), problem
                assert problem["code"], problem

    async with httpx.AsyncClient(
        base_url=daemon.url + API, headers={"Authorization": f"Bearer {daemon.key}"}, timeout=60
    ) as http:
        await asyncio.gather(*(send(http) for _ in range(8)))
    return found


def test_hostile_bodies_are_refused_clearly_and_cost_no_memory(hostile: DaemonProcess) -> None:
    requests = [
        ("POST", path, {"content": body, "headers": {"Content-Type": "application/json"}})
        for body in bodies()
        for path in POSTS
    ]
    requests += [
        ("PATCH", path, {"content": body})
        for body in SHAPES
        for path in ("/devices/d1", "/metrics/a_json")
    ]
    # Twice to let the allocator have its arenas. What runs at once differs from pass to pass, so
    # one may need more of them; what stays, stays of each pass.
    for _ in range(2):
        asyncio.run(statuses(hostile, requests))
    for _ in range(PASSES_MAX):
        before = memory_of(hostile)
        found = asyncio.run(statuses(hostile, requests))
        growth = memory_of(hostile) - before
        if growth < GROWTH_BYTES_MAX / 4:
            break

    assert growth < GROWTH_BYTES_MAX / 4
    assert set(found) <= {200, 201, 400, 413, 415, 422}
    assert found[422] > 100
    assert found[400] > 100


# -- values of paths and queries (S-21) ----------------------------------------------------------

READS = {
    "/devices": ["type", "group", "tag.k", "tag.'", "status", "bbox", "limit", "offset"],
    "/devices/{}": [],
    "/devices/{}/stats": [],
    "/devices/{}/metrics": [],
    "/devices/{}/metrics/{}/latest": ["lookback"],
    "/devices/{}/metrics/{}/range": ["time_range", "aggregation", "interval"],
    "/groups": ["kind", "name", "parent_id", "rollup", "by", "limit", "offset"],
    "/groups/{}": [],
    "/groups/{}/devices": ["include", "metric", "state", "tag.k", "limit", "offset"],
    "/latest": ["device_ids", "metric_names", "group", "type", "bbox", "view", "lookback"],
    "/aggregated": [
        "metric_name", "aggregation_type", "interval", "start_time", "end_time", "device_id",
        "timezone",
    ],
    "/metrics": ["data_type", "metric_type", "q", "limit", "offset"],
    "/metrics/{}": [],
    "/alerts": [
        "status", "level", "device_id", "rule_id", "metric_name", "start_time", "end_time",
        "shadow", "limit", "offset",
    ],
    "/alerts/{}": [],
    "/alerts/rules": ["enabled", "level", "metric_name", "name", "limit", "offset"],
    "/alerts/rules/{}": [],
    "/keys": ["limit", "offset"],
    "/keys/{}": [],
    "/stats": [],
    "/changes": [
        "after", "device_ids", "metric_names", "groups", "tags", "tag.k", "limit", "wait",
    ],
    "/export/csv": [
        "device_ids", "metric_names", "groups", "start_time", "end_time", "after",
        "settle_s", "raw",
    ],
}  # fmt: skip


def test_hostile_parameters_are_refused_clearly(hostile: DaemonProcess) -> None:
    requests: list[tuple[str, str, Any]] = []
    for template, parameters in READS.items():
        for text in TEXTS:
            safe = quote(text, safe="", errors="surrogatepass")
            path = template.format(safe, safe)
            requests.append(("GET", path, {}))
            requests += [("GET", f"{path}?{quote(name)}={safe}", {}) for name in parameters]
    for text in TEXTS:
        safe = quote(text, safe="", errors="surrogatepass")
        for path in (f"/devices/{safe}/telemetry", f"/devices/{safe}/telemetry/batch"):
            requests.append(("POST", path, {"json": a_point(1)}))
            requests.append(("POST", f"{path}?dry_run={safe}", {"json": a_point(1)}))
        requests.append(("DELETE", f"/metrics/{safe}x", {}))
        requests.append(("DELETE", f"/keys/{safe}x", {}))
        requests.append(("POST", f"/keys/{safe}/rotate", {"json": {"overlap": safe[:9]}}))

    found = asyncio.run(statuses(hostile, requests))

    assert set(found) <= {200, 400, 404, 405, 409, 414, 422}


def test_credentials_of_any_shape_are_a_401(hostile: DaemonProcess) -> None:
    heads = [b"Bearer", b"Basic eA==", b"Bearer \xff\xfe", b"Bearer " + b"a" * 9000]
    heads += [
        b"Bearer tlm_live_a_b_c",
        b"Bearer " + hostile.key.encode()[:-1],
        b"bearer null",
    ]
    answers = [
        httpx.get(hostile.url + API + "/devices", headers=[(b"Authorization", head)]).status_code
        for head in heads
    ]

    assert answers == [401] * len(heads)


# -- compressed bodies (S-17) --------------------------------------------------------------------


def bombs() -> dict[str, tuple[str, bytes, int]]:
    """(encoding, body, expected status) by name."""
    zeros = bytes(64 * MIB)
    good = json.dumps({"data_points": [a_point(1), a_point(2)]}).encode()
    half = len(good) // 2
    whole = gzip.compress(good)
    zstd = zstandard.ZstdCompressor().compress
    window = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27)
    ).compressobj()
    return {
        "gzip bomb": ("gzip", gzip.compress(zeros), 413),
        "zstd bomb": ("zstd", zstd(zeros), 413),
        "lz4 bomb": ("lz4", lz4.frame.compress(zeros), 413),
        "window": ("zstd", window.compress(zeros) + window.flush(), 400),
        "two members": ("gzip", gzip.compress(good[:half]) + gzip.compress(good[half:]), 200),
        "two frames": ("zstd", zstd(good[:half]) + zstd(good[half:]), 200),
        "cut off gzip": ("gzip", whole[:-9], 400),
        "cut off zstd": ("zstd", zstd(good)[:-3], 400),
        "cut off lz4": ("lz4", lz4.frame.compress(good)[:-5], 400),
        "garbage behind gzip": ("gzip", whole + b"garbage", 400),
        "garbage behind zstd": ("zstd", zstd(good) + b"garbage", 400),
        "garbage behind lz4": ("lz4", lz4.frame.compress(good) + b"garbage", 400),
        "no gzip": ("gzip", good, 400),
        "deflate": ("deflate", zlib.compress(good), 415),
        "two encodings": ("gzip, gzip", gzip.compress(whole), 415),
        "a member of zeros behind": ("gzip", whole + gzip.compress(zeros), 413),
        "empty": ("gzip", b"", 400),
    }


def send_bombs(daemon: DaemonProcess) -> tuple[dict[str, int], dict[str, int], int]:
    """(wanted, answered) by name, and by how much the peak of memory grew."""
    corpus = bombs()
    with daemon.http() as http:
        http.post("/devices/d1/telemetry/batch", json={"data_points": [a_point(1)] * 1000})
        before = peak_of(daemon)
        answered = {
            name: http.post(
                "/devices/d1/telemetry/batch", content=body, headers={"Content-Encoding": encoding}
            ).status_code
            for name, (encoding, body, _) in corpus.items()
        }
    return (
        {name: wanted for name, (_, _, wanted) in corpus.items()},
        answered,
        peak_of(daemon) - before,
    )


def test_a_bomb_is_refused_before_it_goes_off(hostile: DaemonProcess) -> None:
    wanted, answered, growth = send_bombs(hostile)

    assert answered == wanted
    assert growth < GROWTH_BYTES_MAX


def test_the_peak_of_memory_notices_a_bomb_that_went_off(postgres: PostgresServer) -> None:
    daemon = start_daemon(asyncio.run(fresh_database(postgres)), sabotage="no_decoded_cap")
    try:
        _, _, growth = send_bombs(daemon)
    finally:
        daemon.stop()

    assert growth > GROWTH_BYTES_MAX


# -- too much (F-28, S-18) -----------------------------------------------------------------------


def test_too_much_is_a_413(hostile: DaemonProcess) -> None:
    point = {"timestamp": 1, "metric_name": "m", "value": 1}
    ones = [1] * 100_001
    column = {"device_id": "d", "metric_name": "m", "timestamps": ones, "values": ones}
    cases = [
        ("/devices/d1/telemetry/batch", {"data_points": [point] * 1001}),
        ("/bulk", {"d1": [point] * 5000, "d2": [point] * 5001}),
        ("/columns", {"series": [column]}),
        ("/devices/d1/telemetry", point | {"metadata": {"a": "x" * (4 * MIB)}}),
    ]
    with hostile.http() as http:
        codes = [http.post(path, json=body).status_code for path, body in cases]

    assert codes == [413] * len(cases)


def test_points_far_in_time_make_no_partitions(hostile: DaemonProcess) -> None:
    with hostile.http() as http:
        before = http.get("/admin/partitions").json()
        stamps = ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
        answers = [
            http.post("/devices/d1/telemetry", json=a_point(1, timestamp=stamp)) for stamp in stamps
        ]
        after = http.get("/admin/partitions").json()

    assert [part["name"] for part in after["partitions"]] == [
        part["name"] for part in before["partitions"]
    ]
    assert [a.json()["code"] for a in answers] == ["too_old", "too_old", "in_future"]


BODIES = itertools.count()


def send_new_names(http: httpx.Client, bodies: int) -> None:
    """10,000 devices a body that nobody knows, each with a metric of its own."""
    for _ in range(bodies):
        number = next(BODIES)
        names = (f"{number}_{at}" for at in range(10_000))
        answer = http.post("/bulk", json={f"d{n}": [a_point(1, metric_name=n)] for n in names})
        assert answer.json()["failed_count"] == 10_000


@contextmanager
def another_sender(daemon: DaemonProcess) -> Iterator[list[int]]:
    """Meanwhile somebody else stores points of a device that is known; gives the answers so far."""
    with daemon.http() as http:
        key = http.post("/keys", json={"name": "other", "scopes": ["ingest"], "tier": "pro"}).json()
    answers: list[int] = []
    is_over = threading.Event()

    def send() -> None:
        headers = {"Authorization": f"Bearer {key['key']}"}
        with httpx.Client(base_url=daemon.url + API, headers=headers, timeout=60) as http:
            while not is_over.is_set():
                answers.append(http.post("/devices/x1/telemetry", json=a_point(1)).status_code)

    sending = threading.Thread(target=send)
    sending.start()
    while not answers and sending.is_alive():
        time.sleep(0.01)
    answers.clear()
    try:
        yield answers
    finally:
        is_over.set()
        sending.join()


def test_names_without_end_stop_at_the_limit(postgres: PostgresServer) -> None:
    daemon = start_daemon(
        asyncio.run(fresh_database(postgres)),
        ingest__devices_max="50",
        ingest__metrics_per_device_max="20",
    )
    try:
        with daemon.http() as http:
            many = http.post("/bulk", json={f"x{i}": [a_point(1)] for i in range(200)}).json()
            wide = http.post(
                "/devices/x1/telemetry/batch",
                json={"data_points": [a_point(1, metric_name=f"n{i}") for i in range(100)]},
            ).json()
            send_new_names(http, 1)
            # What is kept is kept of each four bodies; what the allocator needs is not.
            for _ in range(PASSES_MAX):
                before = memory_of(daemon)
                with another_sender(daemon) as answers:
                    send_new_names(http, 4)
                growth = memory_of(daemon) - before
                if growth < GROWTH_BYTES_MAX / 2:
                    break
            known = http.get("/devices", params={"limit": 1}).json()["total"]
    finally:
        daemon.stop()

    assert (many["ingested_count"], many["failed_count"], known) == (50, 150, 50)
    # With what the other one sent.
    assert growth < GROWTH_BYTES_MAX / 2
    assert wide["ingested_count"] == 19
    # Whoever sends what is known goes on meanwhile, between the bodies of names at least.
    assert set(answers) == {200}
    assert len(answers) >= 4
    assert {e["code"] for e in wide["errors"]} == {"cardinality_limit"}


SILENCE_MAX_S = 15
"""Tens of milliseconds are usual, minutes would be the defect."""


def longest_silence_s(daemon: DaemonProcess, body: bytes, path: str) -> float:
    """How long others waited at most for an answer while this body was read."""
    waits_s = [0.0]
    is_over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=daemon.url, timeout=120) as http:
            while not is_over.is_set():
                began_s = time.perf_counter()
                http.get("/health/live")
                waits_s.append(time.perf_counter() - began_s)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with daemon.http() as http:
            http.post(
                path, content=gzip.compress(body, 1), headers={"Content-Encoding": "gzip"},
                timeout=120,
            )  # fmt: skip
    finally:
        is_over.set()
        asking.join()
    return max(waits_s)


@pytest.mark.parametrize("known", ["new", "beyond the limit"])
def test_a_series_for_each_point_keeps_nobody_waiting(hostile: DaemonProcess, known: str) -> None:
    """What is done for each series must not be done for each pair of them: that took minutes."""
    name = "d1" if known == "beyond the limit" else ""
    series = [
        {
            "device_id": name or f"n{at}",
            "metric_name": f"m{at}",
            "timestamps": [time.time()],
            "values": [1],
        }
        for at in range(60_000)
    ]
    body = json.dumps({"series": series}).encode()

    # A machine that stalls does not do so every time.
    silences_s = (longest_silence_s(hostile, body, "/columns?dry_run=true") for _ in range(3))
    assert any(silence_s < SILENCE_MAX_S for silence_s in silences_s)


# -- one bad point among a thousand (F-10) -------------------------------------------------------

POISON = """
create function telemetry.refuse_poison() returns trigger language plpgsql as $$
begin
  if position('poison'::bytea in new.body) > 0 then
    raise exception 'poison' using errcode = '22P05';
  end if;
  return new;
end $$;
create trigger refuse_poison before insert on telemetry.journal
  for each row execute function telemetry.refuse_poison();
"""


async def a_thousand_and_one_bad(server: PostgresServer, sabotage: str) -> Counter[int]:
    """Answers to 1,000 single points at once; the database refuses one that passed every check."""
    dsn = await fresh_database(server)
    connection = await asyncpg.connect(dsn)
    await connection.execute(POISON)
    await connection.close()
    # The loop stands still while the first of them is committed, so the others form large groups.
    daemon = await started(dsn, sabotage=sabotage, fault=f"{Point.INGEST_BEFORE_APPEND}:delay:3")
    limits = httpx.Limits(max_connections=250)
    try:
        async with httpx.AsyncClient(
            base_url=daemon.url + API,
            headers={"Authorization": f"Bearer {daemon.key}"},
            timeout=120,
            limits=limits,
        ) as http:
            for value in ("warm", 1):
                await http.post("/devices/d1/telemetry", json=a_point(value))
            answers = await asyncio.gather(
                *(
                    http.post("/devices/d1/telemetry", json=a_point("poison" if at == 100 else at))
                    for at in range(1000)
                )
            )
            assert sabotage or answers[100].status_code == 422
    finally:
        await asyncio.to_thread(daemon.stop)
    return Counter(answer.status_code for answer in answers)


@pytest.mark.anyio
@pytest.mark.parametrize("sabotage", ["", "no_bisection"])
async def test_one_bad_point_fails_nobody_else(
    postgres_poisoned: PostgresServer, sabotage: str
) -> None:
    found = await a_thousand_and_one_bad(postgres_poisoned, sabotage)

    assert (found == {200: 999, 422: 1}) == (not sabotage), found


@pytest.fixture(scope="module")
def postgres_poisoned() -> Iterator[PostgresServer]:
    """A server of its own, whose log is not read for errors."""
    server = start_server(wheel_bindir())
    yield server
    server.stop()


def test_the_scan_of_the_log_notices_an_error_of_ours(postgres_poisoned: PostgresServer) -> None:
    async def ask() -> None:
        connection = await asyncpg.connect(postgres_poisoned.dsn())
        with pytest.raises(asyncpg.UndefinedColumnError):
            await connection.execute("select no_such_column")
        await connection.close()

    before = len(postgres_poisoned.log)
    asyncio.run(ask())

    assert states_in(postgres_poisoned.log[before:]) == ["42703"]


# -- clients that leave (F-27) -------------------------------------------------------------------


def cut_off(daemon: DaemonProcess, *, sent: int, is_reset: bool) -> None:
    """Send so many bytes of a request and leave, politely or not."""
    body = json.dumps({"data_points": [a_point(at) for at in range(20)]}).encode()
    request = (
        f"POST {API}/devices/cut/telemetry/batch HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {daemon.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    where = urlsplit(daemon.url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=60) as client:
        if is_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(request[: int(sent * len(request) / 100)])


def descriptors_of(daemon: DaemonProcess) -> int:
    return psutil.Process(daemon.process.pid).num_fds()


def test_clients_that_leave_at_any_moment_leave_nothing_behind(hostile: DaemonProcess) -> None:
    said_before = len(hostile.log)
    # With as many connections to the database as that takes.
    for turn in range(40):
        cut_off(hostile, sent=turn * 2, is_reset=turn % 2 == 0)
    before = descriptors_of(hostile)
    for turn in range(400):
        cut_off(hostile, sent=turn % 101, is_reset=turn % 2 == 0)
    with hostile.http() as http:
        answer = http.post("/devices/cut/telemetry", json=a_point(1, metric_name="after"))
    deadline = time.monotonic() + 60
    while descriptors_of(hostile) > before + 5 and time.monotonic() < deadline:
        time.sleep(0.1)

    assert answer.status_code == 200
    assert descriptors_of(hostile) <= before + 5
    said = hostile.log[said_before:]
    assert [line for line in said if line.get("status", 0) >= 500] == []
