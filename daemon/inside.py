"""Opens the door for services of this installation, as `[auth.internal]` says; only the first
process has it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.config import Config, InternalCalls
from daemon.log import get_logger
from daemon.parts import Parts
from daemon.service.figures import of_internal_calls
from daemon.service.internal import (
    InternalCallers,
    InternalRights,
    UnsafeInternal,
    check_host,
    principals_of,
    tokens_in,
)
from daemon.transport.connections import WALK_EVERY_S, ConnectionBounds
from daemon.transport.http import App
from daemon.transport.internal_door import InternalDoor
from daemon.transport.server import LAST_REQUEST_S, bind, make_server
from daemon.transport.unix_socket import USERS, bind_unix, owner_of, strangers
from daemon.workers.pulse import watched
from daemon.workers.repeat import repeat

log = get_logger()


@dataclass(slots=True)
class Inside:
    """A socket that listens already, and who may call on it."""

    listening: socket.socket
    callers: InternalCallers
    path: Path | None = None

    def close(self) -> None:
        self.listening.close()
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()

    async def serve(
        self, app: App, parts: Parts, *, bounds: ConnectionBounds, stop: asyncio.Event
    ) -> None:
        """Until `stop`; then what is under way is answered."""
        members = parts.services.keys.members
        services = {
            name: replace(holder, members=members) for name, holder in self.callers.services.items()
        }
        door = InternalDoor(app, callers=replace(self.callers, services=services))
        parts.services.figures.add(of_internal_calls(lambda: door.outcomes))
        drain_s = parts.config.server.drain_timeout_s
        server = make_server(door, drain_timeout_s=drain_s, bounds=bounds, is_exempt=lambda _: True)
        log.info("serving_inside", at=self._place(), services=sorted(services))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[self.listening]))
            # Slow callers are ended as on the public port.
            walks = repeat(server.walks.walk, every_s=WALK_EVERY_S, name="connections_inside")
            walking = tasks.create_task(watched(walks))
            await stop.wait()
            server.say_goodbye()
            server.close_port()
            await asyncio.sleep(LAST_REQUEST_S)
            server.should_exit = True
            walking.cancel()

    def _place(self) -> str:
        if self.path is not None:
            return str(self.path)
        host, port = self.listening.getsockname()[:2]
        return f"{host}:{port}"


def open_inside(config: Config) -> Inside | None:
    """None with mode off. Raises UnsafeInternal, DomainError and OSError."""
    section, callers = config.auth.internal, callers_of(config)
    if callers is None:
        return None
    if section.mode == "listener":
        return Inside(bind(section.host, section.port), callers)
    listening = bind_unix(section.socket, group=section.group)
    return Inside(listening, callers, section.socket)


def callers_of(config: Config) -> InternalCallers | None:
    """Who may call, and None with mode off; nothing is opened. Raises UnsafeInternal, and
    DomainError for a group that is not known."""
    section = config.auth.internal
    if section.mode == "off":
        return None
    services = principals_of(_rights_of(section))
    if section.mode == "listener":
        check_host(section.host)
        return InternalCallers(services, tokens=tokens_in(section.token_file))
    if not section.uids:
        raise UnsafeInternal("auth.internal.uids names nobody who may call")
    unknown = strangers(section.uids, USERS)
    if unknown:
        named = ", ".join(map(str, unknown))
        raise UnsafeInternal(
            f"auth.internal.uids: the kernel does not tell {named} from other users here; under"
            " systemd PrivateUsers=no is needed (docs/access.md, Internal calls)"
        )
    owner_of(section.group)
    return InternalCallers(services, frozenset(section.uids))


def _rights_of(section: InternalCalls) -> Mapping[str, InternalRights]:
    found: dict[str, InternalRights] = {}
    for one in section.services:
        if one.name in found:
            raise UnsafeInternal(f"auth.internal.services names {one.name} twice")
        found[one.name] = InternalRights(one.scopes, one.tier, one.devices, one.groups, one.metrics)
    return found
