"""docs/asyncapi.yaml: it is an AsyncAPI 3.0 document, its schemas describe what a daemon sends, and
its examples work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import live_frames
import pytest
import yaml
from daemons import DaemonProcess, kill_started
from databases import fresh_database
from jsonschema import Draft7Validator
from servers import PostgresServer
from stream_clients import Frame, a_socket, events, frame_of, say
from websockets.asyncio.client import ClientConnection

pytestmark = pytest.mark.anyio
DOCUMENT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "docs" / "asyncapi.yaml").read_text()
)
ACTIONS = ("auth", "subscribe", "unsubscribe", "askPong")
"""The messages of clients that are answered."""
SILENT = "answerPing"
REF = {
    "type": "object",
    "required": ["$ref"],
    "additionalProperties": False,
    "properties": {"$ref": {"type": "string", "pattern": "^#/"}},
}
REFS = {"type": "object", "additionalProperties": REF}
TEXTS = {name: {"type": "string"} for name in ("title", "summary", "description")}
SHAPE = {
    "type": "object",
    "required": ["asyncapi", "info", "channels", "operations"],
    "additionalProperties": False,
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "info": {"type": "object", "required": ["title", "version"]},
        "defaultContentType": {"type": "string"},
        "servers": {
            "additionalProperties": {
                "required": ["host", "protocol"],
                "additionalProperties": False,
                "properties": {
                    **TEXTS, "host": {"type": "string"}, "protocol": {"enum": ["ws", "http"]},
                    "security": {"type": "array", "items": REF},
                },
            }
        },
        "channels": {
            "additionalProperties": {
                "required": ["address", "messages"],
                "additionalProperties": False,
                "properties": {
                    **TEXTS, "address": {"type": "string", "pattern": "^/"}, "messages": REFS,
                    "servers": {"type": "array", "items": REF}, "bindings": {"type": "object"},
                    "parameters": {
                        "additionalProperties": {
                            "additionalProperties": False,
                            "properties": {
                                "description": {"type": "string"}, "default": {"type": "string"},
                                "enum": {"type": "array"},
                            },
                        }
                    },
                },
            }
        },
        "operations": {
            "additionalProperties": {
                "required": ["action", "channel"],
                "additionalProperties": False,
                "properties": {
                    **TEXTS, "action": {"enum": ["send", "receive"]}, "channel": REF,
                    "messages": {"type": "array", "items": REF}, "bindings": {"type": "object"},
                    "reply": {
                        "additionalProperties": False,
                        "properties": {"channel": REF, "messages": {"type": "array", "items": REF}},
                    },
                },
            }
        },
        "components": {
            "additionalProperties": False,
            "properties": {
                "schemas": {"type": "object"}, "securitySchemes": {"type": "object"},
                "messages": {
                    "additionalProperties": {
                        "required": ["summary", "payload", "examples"],
                        "additionalProperties": False,
                        "properties": {
                            **TEXTS, "name": {"type": "string"}, "payload": REF,
                            "examples": {
                                "type": "array", "minItems": 1,
                                "items": {
                                    "required": ["payload"],
                                    "additionalProperties": False,
                                    "properties": {"name": {"type": "string"}, "payload": {}},
                                },
                            },
                        },
                    }
                },
            },
        },
    },
}  # fmt: skip
"""What AsyncAPI 3.0 asks of the objects that the document uses (https://www.asyncapi.com/docs)."""
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


def found(ref: str) -> Any:
    """What a reference inside the document names. Raises KeyError."""
    node: Any = DOCUMENT
    for name in ref.removeprefix("#/").split("/"):
        node = node[name]
    return node


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """All objects of the document."""
    if isinstance(node, dict):
        yield node
    for inner in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from nodes(inner)


def closed(schema: Any) -> Any:
    """The schemas as a test wants them: a member that they do not name is a mistake."""
    schema = deepcopy(schema)
    for node in nodes(schema):
        if isinstance(node.get("properties"), dict) and node.get("type") == "object":
            node.setdefault("additionalProperties", False)
    return schema


@cache
def validator(message: str) -> Draft7Validator:
    schemas = {"schemas": closed(DOCUMENT["components"]["schemas"])}
    return Draft7Validator({"components": schemas, **MESSAGES[message]["payload"]})


def message_of(frame: Frame) -> str:
    """The message of the document that a frame is."""
    if frame["type"] == "update":
        return "newest" if "latest" in frame["data"] else "points"
    return str(frame["type"])


def examples(*messages: str) -> list[Any]:
    return [
        pytest.param(name, one["payload"], id=f"{name}-{number}")
        for name in messages or MESSAGES
        for number, one in enumerate(MESSAGES[name]["examples"])
    ]


@pytest.fixture(scope="module")
def live(postgres: PostgresServer) -> list[Frame]:
    try:
        return asyncio.run(_collected(postgres))
    finally:
        kill_started()


async def _collected(postgres: PostgresServer) -> list[Frame]:
    return await live_frames.collect(await fresh_database(postgres))


# -- the document --------------------------------------------------------------------------------


def test_it_has_the_shape_of_an_asyncapi_document() -> None:
    mistakes = [error.message for error in Draft7Validator(SHAPE).iter_errors(DOCUMENT)]

    assert mistakes == []


def test_every_reference_leads_somewhere() -> None:
    for node in nodes(DOCUMENT):
        if "$ref" in node:
            assert found(node["$ref"]) is not None


def test_every_schema_is_one() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert list(Draft7Validator(Draft7Validator.META_SCHEMA).iter_errors(schema)) == [], name


def test_the_messages_of_an_operation_are_messages_of_its_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        for part in (operation, operation.get("reply", {})):
            for message in part.get("messages", []):
                assert message["$ref"].startswith(part["channel"]["$ref"] + "/messages/")


def test_the_parameters_of_an_address_are_described() -> None:
    for channel in DOCUMENT["channels"].values():
        named = {text.split("}")[0] for text in channel["address"].split("{")[1:]}
        assert named == set(channel.get("parameters", {}))


def test_all_types_of_frames_are_described() -> None:
    described = {example["payload"].get("type") for one in MESSAGES.values()
                 for example in one["examples"]}  # fmt: skip

    assert described - {None} == set(live_frames.KINDS)


@pytest.mark.parametrize(("message", "payload"), examples())
def test_an_example_fits_its_schema(message: str, payload: Any) -> None:
    assert [error.message for error in validator(message).iter_errors(payload)] == []


# -- the daemon ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", live_frames.KINDS)
def test_what_a_daemon_sends_fits_its_schema(live: list[Frame], kind: str) -> None:
    frames = [frame for frame in live if frame["type"] == kind]

    assert frames
    for frame in frames:
        errors = [error.message for error in validator(message_of(frame)).iter_errors(frame)]
        assert errors == [], json.dumps(frame)


@pytest.mark.parametrize("message", sorted({*MESSAGES} - {*ACTIONS, SILENT}))
def test_an_example_has_the_members_that_a_daemon_sends(live: list[Frame], message: str) -> None:
    sent = [_members(frame) for frame in live if message_of(frame) == message]
    for example in MESSAGES[message]["examples"]:
        assert _members(example["payload"]) in sent


def _members(frame: Frame) -> list[str]:
    return sorted([*frame, *("." + name for name in frame.get("data", frame.get("error")) or ())])


@pytest.mark.parametrize(("message", "payload"), examples(*ACTIONS))
async def test_an_example_action_gets_one_of_its_answers(
    daemon: DaemonProcess, message: str, payload: dict[str, Any]
) -> None:
    payload = dict(payload)
    async with a_socket(daemon, key="" if message == "auth" else None) as socket:
        if message == "auth":
            payload["token"] = daemon.key
        elif message == "unsubscribe":
            await say(socket, "subscribe", channels=["telemetry", "events"], devices=["boiler_2"])
            made = await frame_of(socket, "subscribed")
            if "subscription_id" in payload:
                payload["subscription_id"] = made["data"]["subscription_id"]
        elif message != "auth":
            await frame_of(socket, "welcome")
        await socket.send(json.dumps(payload))
        answer = await no_ping_of(socket)

    expected = next(
        operation["reply"]["messages"]
        for operation in DOCUMENT["operations"].values()
        if any(one["$ref"].endswith(f"/{message}") for one in operation.get("messages", ()))
        and "reply" in operation
    )
    assert answer["type"] == expected[0]["$ref"].rsplit("/", 1)[1]
    assert [error.message for error in validator(message_of(answer)).iter_errors(answer)] == []


async def no_ping_of(socket: ClientConnection) -> Frame:
    """The next frame; a heartbeat comes whenever it is its time."""
    while (frame := await frame_of(socket))["type"] == "ping":
        pass
    return frame


async def test_the_answer_to_a_ping_is_not_answered(daemon: DaemonProcess) -> None:
    async with a_socket(daemon) as socket:
        await frame_of(socket, "welcome")
        await socket.send(json.dumps(MESSAGES[SILENT]["examples"][0]["payload"]))
        await say(socket, "ping")

        assert (await no_ping_of(socket))["type"] == "pong"


@pytest.mark.parametrize("name", list(DOCUMENT["channels"]))
async def test_there_is_a_door_at_every_address(daemon: DaemonProcess, name: str) -> None:
    channel = DOCUMENT["channels"][name]
    with daemon.http() as http:
        made = http.post("/subscribe", json={}).json()
    address = channel["address"].format(channel="telemetry", **made)
    if channel["servers"][0]["$ref"].endswith("/http"):
        async with events(daemon, address.split("/stream")[1]) as sent:
            event, _, first = await sent.next()
            assert event == "welcome"
    else:
        async with a_socket(daemon, address) as socket:
            first = await frame_of(socket)

    assert first["type"] == "welcome"


@pytest.mark.parametrize("channel", DOCUMENT["channels"]["stream"]["parameters"]["channel"]["enum"])
async def test_every_channel_can_be_had(daemon: DaemonProcess, channel: str) -> None:
    async with events(daemon, f"/{channel}") as sent:
        _, _, frame = await sent.next("subscribed")

    assert frame["data"]["channels"] == [channel]


async def test_a_heartbeat_is_a_ping_with_another_name(daemon: DaemonProcess) -> None:
    event, place, frame = await live_frames.heartbeat_of(daemon)

    assert (event, frame["type"]) == ("heartbeat", "ping")
    assert place == frame["cursor"]
