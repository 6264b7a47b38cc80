"""The doors of a server, best first, made when they are needed: sockets import slowly."""

from __future__ import annotations

from telemetryctl.client.doors import Door, Endpoint, Wanted
from telemetryctl.client.follow import Follower, Pace
from telemetryctl.client.stream_poll import WAIT_S, PollDoor
from telemetryctl.client.wire import CONNECT_TIMEOUT_S, Wire
from telemetryctl.failures import UsageFailure

TRANSPORTS = ("auto", "ws", "sse", "poll")


def follower_of(endpoint: Endpoint, wanted: Wanted, *, transport: str = "auto") -> Follower:
    """A follower over the doors of this transport. Raises UsageFailure when there is none such."""
    if transport not in TRANSPORTS:
        raise UsageFailure(f'"{transport}" is no transport', hint=", ".join(TRANSPORTS))
    poll = poll_door(endpoint, wanted)
    if transport == "poll":
        return Follower([poll], poll, credential=endpoint.credential)
    # Nobody chose polling: it begins eagerly, and settles down.
    poll.pause_max_s = Pace().poll_s
    doors = _sockets(endpoint, wanted)
    if transport == "auto":
        doors = [*doors, poll]
    else:
        doors = [door for door in doors if door.name == transport]
    return Follower(doors, poll, credential=endpoint.credential)


def poll_door(endpoint: Endpoint, wanted: Wanted) -> PollDoor:
    """A polling door with a connection of its own, patient enough for held answers."""
    timeout_s = WAIT_S + CONNECT_TIMEOUT_S
    wire = Wire(endpoint.server, token=endpoint.credential, timeout_s=timeout_s, log=endpoint.log)
    return PollDoor(wire, wanted)


def _sockets(endpoint: Endpoint, wanted: Wanted) -> list[Door]:
    from telemetryctl.client.stream_sse import SseDoor
    from telemetryctl.client.stream_ws import WebSocketDoor

    return [WebSocketDoor(endpoint, wanted), SseDoor(endpoint, wanted)]
