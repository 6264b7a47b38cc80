"""Keys whose requests are signed, on a running daemon: what is right is answered as ever, and
whatever is not, is missing, or was changed on its way is 401."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms
from signers import HandSigner, digest_of
from stream_clients import a_socket, close_code, frame_of, say, subscribed

SCOPES = ["ingest", "read", "export", "metrics:write", "keys"]


def point(value: float = 1.5) -> dict[str, Any]:
    return {"metric_name": "flow", "value": value, "timestamp": time.time()}


@dataclass
class Holder:
    """Who has a key and its private half; `send` signs by hand."""

    daemon: DaemonProcess
    key: str
    hand: HandSigner
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def request(self, method: str, path: str, **options: Any) -> httpx.Request:
        url = (
            path
            if path.startswith("http")
            else self.daemon.url + (path if path.startswith("/auth") else API + path)
        )
        request = self.http.build_request(method, url, **options)
        request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    def signed(
        self, method: str, path: str, *, created: float | None = None, **options: Any
    ) -> httpx.Request:
        request = self.request(method, path, **options)
        return self.hand.sign(request, created=created or time.time())

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.http.send(self.signed(method, path, **options))


@pytest.fixture(scope="module")
def holder(daemon: DaemonProcess) -> Iterator[Holder]:
    hand = HandSigner()
    with daemon.http() as http:
        made = http.post(
            "/keys",
            json={"name": "signed", "scopes": SCOPES, "tier": "enterprise",
                  "signing_key": hand.public_pem},
        )  # fmt: skip
    assert made.status_code == 201, made.text
    assert made.json()["signing_key"] == hand.public_text
    hand.key_id = made.json()["key_id"]
    found = Holder(daemon, made.json()["key"], hand)
    assert found.send("POST", "/devices/d/telemetry", json=point()).status_code == 200
    yield found
    found.http.close()


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# -- what is right -------------------------------------------------------------------------------


def test_reads_are_answered_with_and_without_a_query(holder: Holder) -> None:
    for path in (
        "/devices",
        "/devices?limit=5&q=",
        "/devices/d/metrics/flow/latest",
        "/auth/whoami",
    ):
        assert holder.send("GET", path).status_code == 200, path
    for _ in range(3):
        # Known by now, so this would be a hot read.
        assert holder.send("GET", "/devices/d/metrics/flow/latest").status_code == 200


def test_single_points_are_stored_however_their_body_comes(holder: Holder) -> None:
    for _ in range(3):
        assert holder.send("POST", "/devices/d/telemetry", json=point()).status_code == 200
    body = json.dumps(point(2.5)).encode()
    request = holder.signed("POST", "/devices/d/telemetry", content=body)
    chunked = holder.request("POST", "/devices/d/telemetry", content=iter([body[:9], body[9:]]))
    for name in ("signature-input", "signature", "content-digest"):
        chunked.headers[name] = request.headers[name]

    assert "content-length" not in chunked.headers
    assert holder.http.send(chunked).status_code == 200


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_digest_of_a_batch_is_over_what_went_over_the_wire(
    holder: Holder, algorithm: str
) -> None:
    body = gzip.compress(json.dumps({"data_points": [point(), point(3)]}).encode())
    request = holder.request(
        "POST", "/devices/d/telemetry/batch", content=body, headers={"Content-Encoding": "gzip"}
    )
    values = {
        "@method": "POST",
        "@path": request.url.path,
        "content-digest": digest_of(body, algorithm),
    }
    request.headers["content-digest"] = values["content-digest"]
    request.headers.update(holder.hand.fields(values, created=int(time.time())))

    answer = holder.http.send(request)

    assert answer.status_code == 200, answer.text
    assert answer.json()["ingested_count"] == 2


def test_json_bodies_are_checked_and_done(holder: Holder) -> None:
    now = time.time()
    body = {"metrics": ["flow"], "start_time": now - 3_600, "end_time": now + 60}

    assert holder.send("POST", "/query", json=body).json()["count"] >= 1
    made = holder.send("POST", "/metrics", json={"name": "signed_m", "data_type": "numeric"})
    assert made.status_code == 201
    assert holder.send("DELETE", "/metrics/signed_m").status_code == 200


def test_the_library_of_others_signs_alike(holder: Holder) -> None:
    resolver = MappingKeyResolver(
        public_keys={}, private_keys={holder.hand.key_id: holder.hand.private_key}
    )
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=resolver)
    body = json.dumps(point()).encode()
    request = holder.request("POST", "/devices/d/telemetry?dry_run=true", content=body)
    covered = ("@method", "@authority", "@path", "@query", "content-type", "date")
    request.headers["date"] = "Sat, 21 Nov 2026 10:00:00 GMT"
    request.headers["content-type"] = "application/json"
    signer.sign(request, key_id=holder.hand.key_id, covered_component_ids=covered, body=body)

    answer = holder.http.send(request)

    assert answer.json().get("message") == "Data point is valid", answer.text


def test_health_and_figures_know_a_signed_key(holder: Holder) -> None:
    daemon = holder.daemon
    with_key = holder.send("GET", f"{daemon.url}/health/detailed").json()
    unsigned = holder.http.send(holder.request("GET", f"{daemon.url}/health/detailed")).json()

    assert "version" in with_key
    assert len(json.dumps(with_key)) > len(json.dumps(unsigned))
    assert holder.send("GET", f"{daemon.url}/metrics").status_code == 200
    assert holder.http.send(holder.request("GET", f"{daemon.url}/metrics")).status_code == 401


# -- what is not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/devices"), ("GET", "/devices/d/metrics/flow/latest"), ("GET", "/auth/whoami"),
        ("POST", "/devices/d/telemetry"), ("POST", "/devices/d/telemetry/batch"),
        ("POST", "/bulk"), ("POST", "/columns"), ("POST", "/query"), ("POST", "/tickets"),
        ("GET", "/stream/telemetry"), ("GET", "/export/csv"), ("DELETE", "/keys/key_0"),
    ],
)  # fmt: skip
def test_without_a_signature_the_key_opens_nothing(holder: Holder, method: str, path: str) -> None:
    assert holder.send("GET", "/devices").status_code == 200  # The key is known by now.
    for name, value in (("Authorization", f"Bearer {holder.key}"), ("X-Api-Key", holder.key)):
        request = holder.request(method, path, **({"json": point()} if method == "POST" else {}))
        del request.headers["authorization"]
        request.headers[name] = value
        answer = holder.http.send(request)

        assert code_of(answer) == (401, "signature_required")
        assert answer.headers["www-authenticate"].startswith("Bearer")


Change = Callable[[httpx.Request], httpx.Request]


def _with(request: httpx.Request, **parts: Any) -> httpx.Request:
    headers = parts.pop("headers", {})
    whole = {
        "method": request.method, "url": request.url, "content": request.read(),
        "headers": {n: v for n, v in request.headers.items() if n != "content-length"} | headers,
    } | parts  # fmt: skip
    return httpx.Request(**whole)


def _instead(name: str, old: str, new: str) -> Change:
    return lambda request: _with(
        request, headers={name: request.headers[name].replace(old, new, 1)}
    )


CHANGES: dict[str, Change] = {
    "method": lambda r: _with(r, method="PUT"),
    "path": lambda r: _with(r, url=str(r.url).replace("/d/", "/e/")),
    "query": lambda r: _with(r, url=str(r.url).replace("true", "false")),
    "no query": lambda r: _with(r, url=str(r.url).partition("?")[0]),
    "more query": lambda r: _with(r, url=f"{r.url}&x=1"),
    "label": _instead("signature", "sig1", "sig2"),
    "bytes": _instead("signature", "=:", "=:AAAA"),
    "no bytes": _instead("signature", "sig1=", "sig1;x="),
    "created": _instead("signature-input", "created=", "created=1"),
    "component": _instead("signature-input", '"@path"', '"@authority"'),
    "fewer": _instead("signature-input", '"@path" ', ""),
    "keyid": _instead("signature-input", 'keyid="key_', 'keyid="key_0'),
    "garbage": lambda r: _with(r, headers={"signature-input": 'sig1=(("', "signature": "%%"}),
    "huge": lambda r: _with(r, headers={"signature-input": "a=()," * 9_000}),
    "key": lambda r: _with(r, headers={"idempotency-key": "another"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_request_that_was_changed_is_refused(holder: Holder, change: str) -> None:
    path = "/devices/d/telemetry?dry_run=true"
    request = holder.signed("POST", path, json=point(), headers={"Idempotency-Key": "one"})
    changed = CHANGES[change](request)
    if change == "method":
        # No such method there; on a route that has it, it is refused.
        request = holder.signed("GET", "/devices/d")
        changed = _with(request, method="DELETE")

    answer = holder.http.send(changed)

    assert code_of(answer) == (401, "signature_invalid")
    assert holder.key not in answer.text
    assert holder.http.send(holder.signed("POST", path, json=point())).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/devices/d/telemetry", point()),
        ("/devices/d/telemetry/batch", {"data_points": [point()]}),
        ("/query", {"metrics": ["flow"], "start_time": 1, "end_time": 2}),
    ],
)
def test_another_body_than_the_signed_one_is_refused(
    holder: Holder, path: str, body: dict[str, Any]
) -> None:
    other = json.dumps(body | {"metadata": {}}).encode()
    changed = _with(holder.signed("POST", path, json=body), content=other)

    assert code_of(holder.http.send(changed)) == (401, "digest_mismatch")

    mended = _with(changed, headers={"content-digest": digest_of(other)})
    assert code_of(holder.http.send(mended)) == (401, "signature_invalid")


def test_a_body_that_is_not_covered_is_refused(holder: Holder) -> None:
    bare = holder.signed("POST", "/tickets")
    added = _with(bare, content=b'{"channel": "events"}')

    answer = holder.http.send(added)

    assert code_of(answer) == (401, "signature_invalid")
    assert "content-digest" in answer.json()["detail"]
    assert holder.http.send(holder.signed("POST", "/tickets")).status_code == 201


@pytest.mark.parametrize("name", ["idempotency-key", "if-match"])
def test_what_changes_the_meaning_of_a_request_is_not_added_to_it(
    holder: Holder, name: str
) -> None:
    added = _with(holder.signed("POST", "/devices/d/telemetry", json=point()), headers={name: "x"})

    answer = holder.http.send(added)

    assert code_of(answer) == (401, "signature_invalid")
    assert f"does not cover {name}" in answer.json()["detail"]


@pytest.mark.parametrize("apart_s", [-310, 310, -86_400 * 365, 10**9])
def test_old_and_early_ones_are_refused(holder: Holder, apart_s: int) -> None:
    while True:
        began_s = time.monotonic()
        answer = holder.send("GET", "/devices", created=time.time() + apart_s)
        if time.monotonic() - began_s < 5:
            # Else what was early may be in time when it is looked at.
            break

    assert code_of(answer) == (401, "signature_invalid")
    assert "clock" in answer.json()["detail"]


def test_another_keys_signature_is_refused(holder: Holder) -> None:
    other = HandSigner(holder.hand.key_id)

    request = other.sign(holder.request("GET", "/devices"), created=time.time())

    assert code_of(holder.http.send(request)) == (401, "signature_invalid")


def test_who_signs_for_a_key_without_a_signing_key_is_told(
    holder: Holder, daemon: DaemonProcess
) -> None:
    with daemon.http() as http:
        made = http.post("/keys", json={"name": "plain", "scopes": ["read", "ingest"]}).json()
    plain = Holder(daemon, made["key"], HandSigner(made["key_id"]), holder.http)
    for path in ("/devices", "/devices/d/metrics/flow/latest"):
        for _ in range(2):
            assert holder.http.send(plain.request("GET", path)).status_code == 200
            assert code_of(plain.send("GET", path)) == (401, "signature_invalid")
            # Somebody else's is none of ours.
            foreign = Holder(daemon, made["key"], HandSigner("proxy"), holder.http)
            assert foreign.send("GET", path).status_code == 200
    answer = plain.send("POST", "/devices/d/telemetry", json=point())
    assert code_of(answer) == (401, "signature_invalid")


def test_a_login_is_no_way_around(holder: Holder) -> None:
    url = f"{holder.daemon.url}/auth/login"

    for answer in (
        holder.http.post(url, json={"api_key": holder.key}),
        holder.send("POST", "/auth/login", json={"api_key": holder.key}),
    ):
        assert code_of(answer) == (403, "signed_key")


def test_refusals_are_logged_without_the_key(holder: Holder) -> None:
    holder.http.send(holder.request("GET", "/devices"))

    line = holder.daemon.wait_for("authentication_failed")

    assert line["reason"] in ("signature_required", "signature_invalid")
    assert line["key_id"] == holder.hand.key_id
    assert all(holder.key not in json.dumps(one) for one in holder.daemon.log)


# -- rotation ------------------------------------------------------------------------------------


def test_a_rotation_keeps_the_signing_key_or_takes_a_new_one(
    holder: Holder, daemon: DaemonProcess
) -> None:
    first, second = HandSigner(), HandSigner()
    with daemon.http() as http:
        wanted = {"name": "turned", "scopes": ["read"], "tier": "enterprise"}
        made = http.post("/keys", json=wanted).json()
        first.key_id = second.key_id = made["key_id"]

        def rotated(**body: Any) -> dict[str, Any]:
            answer = http.post(f"/keys/{made['key_id']}/rotate", json={"overlap": 3600} | body)
            found: dict[str, Any] = answer.json()
            return found

        def status(key: str, hand: HandSigner | None) -> int:
            one = Holder(daemon, key, hand or first, holder.http)
            request = one.signed("GET", "/devices") if hand else one.request("GET", "/devices")
            return one.http.send(request).status_code

        signed = rotated(signing_key=first.public_text)
        assert (status(made["key"], None), status(made["key"], first)) == (200, 401)
        assert (status(signed["key"], first), status(signed["key"], None)) == (200, 401)

        kept = rotated()
        assert kept["signing_key"] == first.public_text
        assert status(kept["key"], first) == 200

        turned = rotated(signing_key=second.public_pem)
        assert (status(turned["key"], second), status(turned["key"], first)) == (200, 401)
        assert (status(kept["key"], first), status(kept["key"], second)) == (200, 401)
        assert http.get(f"/keys/{made['key_id']}").json()["signing_key"] == second.public_text


@pytest.mark.parametrize("text", ["no key", "A" * 1_024, HandSigner().private_pem.decode()])
def test_what_is_no_public_key_is_refused(daemon: DaemonProcess, text: str) -> None:
    with daemon.http() as http:
        answer = http.post("/keys", json={"name": "x", "scopes": ["read"], "signing_key": text})

    assert code_of(answer) == (422, "bad_signing_key")
    assert answer.json()["errors"][0]["pointer"] == "/signing_key"
    assert text not in answer.text


# -- streams -------------------------------------------------------------------------------------


def test_server_sent_events_begin_with_a_signed_request(holder: Holder) -> None:
    request = holder.signed("GET", "/stream/telemetry?device_ids=d")
    answer = holder.http.send(request, stream=True)
    try:
        assert answer.status_code == 200
        assert "subscribed" in next(line for line in answer.iter_lines() if "subscribed" in line)
    finally:
        answer.close()
    changed = _with(request, url=str(request.url).replace("=d", "=e"))
    assert code_of(holder.http.send(changed)) == (401, "signature_invalid")


def upgrade(holder: Holder, path: str) -> dict[str, str]:
    """What a signed upgrade has beside its bearer."""
    return holder.hand.headers("GET", holder.daemon.url + path, created=time.time())


@pytest.mark.anyio
async def test_a_socket_opens_with_a_signed_upgrade_only(holder: Holder) -> None:
    headers = upgrade(holder, "/ws")
    async with a_socket(holder.daemon, key=holder.key, headers=headers) as socket:
        assert (await frame_of(socket))["type"] == "welcome"
    for more, said in (({}, "SIGNATURE_REQUIRED"), (upgrade(holder, "/x"), "SIGNATURE_INVALID")):
        async with a_socket(holder.daemon, key=holder.key, headers=more) as socket:
            code, frames = await close_code(socket)

        assert (code, frames[0]["error"]["code"]) == (4001, said)


@pytest.mark.anyio
async def test_an_open_socket_goes_on_until_its_key_ends(
    holder: Holder, daemon: DaemonProcess
) -> None:
    """Open streams are asked about every 5 s, which needs no new signature."""
    hand = HandSigner()
    with daemon.http() as http:
        wanted = {"name": "short", "scopes": ["read"], "signing_key": hand.public_text}
        made = http.post("/keys", json=wanted).json()
        hand.key_id = made["key_id"]
        headers = hand.headers("GET", f"{daemon.url}/ws", created=time.time())
        async with a_socket(daemon, key=made["key"], headers=headers) as socket:
            assert (await subscribed(socket, devices=["late"]))["type"] == "subscribed"
            await asyncio.sleep(5.5)
            await asyncio.to_thread(http.post, "/devices/late/telemetry", json=point())
            assert (await frame_of(socket, "update"))["data"]["data_points"]
            await asyncio.to_thread(http.delete, f"/keys/{made['key_id']}")
            code, _ = await close_code(socket)

    assert code == 4001


@pytest.mark.anyio
async def test_a_message_inside_a_socket_is_no_way_in(holder: Holder) -> None:
    async with a_socket(holder.daemon, key="", headers=upgrade(holder, "/ws")) as socket:
        await say(socket, "auth", token=holder.key)
        code, frames = await close_code(socket)

    assert (code, frames[0]["error"]["code"]) == (4001, "SIGNATURE_REQUIRED")


@pytest.mark.anyio
async def test_a_ticket_of_a_signed_request_opens_one_stream(holder: Holder) -> None:
    ticket = holder.send("POST", "/tickets", json={}).json()["ticket"]
    async with a_socket(holder.daemon, f"/ws?ticket={ticket}", key="") as socket:
        assert (await frame_of(socket))["type"] == "welcome"
    async with a_socket(holder.daemon, f"/ws?ticket={ticket}", key="") as socket:
        code, frames = await close_code(socket)

    assert (code, frames[0]["error"]["code"]) == (4001, "AUTH_REQUIRED")
