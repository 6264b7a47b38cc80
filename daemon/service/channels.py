"""Channels: making, finding, changing, removing and trying them."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from daemon.clock import Clock, as_datetime
from daemon.domain.access import Principal
from daemon.domain.channels import (
    SECRET_BYTES,
    SETTINGS,
    Channel,
    ChannelKind,
    Settings,
    secret_text,
    settings_of,
)
from daemon.domain.errors import Conflict, Forbidden, Invalid, NotFound
from daemon.domain.ids import new_id
from daemon.log import get_logger
from daemon.service.secret_box import SecretBox, WrongSecretKey
from daemon.store.channels import ChannelStore

log = get_logger()


@dataclass(frozen=True, slots=True)
class Made:
    """A channel, and the secret that was made for it, to be shown once."""

    channel: Channel
    secret: str | None = field(default=None, repr=False)


class Channels:
    """Channels belong to everybody: what they tell is of all devices and metrics, so a key that is
    bound to any changes none, and sees no settings of them."""

    def __init__(
        self, store: ChannelStore, *, box: SecretBox, allow_hosts: Collection[str], clock: Clock
    ) -> None:
        self._store = store
        self._box = box
        self._allow_hosts = allow_hosts
        self._clock = clock

    # -- reading ---------------------------------------------------------------------------------

    async def page(
        self, *, kind: str | None, by: Principal, limit: int, offset: int
    ) -> tuple[list[Channel], int]:
        """A page by name, and how many there are."""
        channels, total = await self._store.page(kind=kind, limit=limit, offset=offset)
        return [_seen(channel, by) for channel in channels], total

    async def show(self, name: str, *, by: Principal) -> Channel:
        """Raises NotFound."""
        return _seen(await self.find(name), by)

    async def find(self, name: str) -> Channel:
        """Raises NotFound."""
        found = await self._store.find([name])
        if name not in found:
            raise _unknown(name)
        return found[name]

    # -- changing --------------------------------------------------------------------------------

    async def create(self, fields: Mapping[str, Any], *, by: Principal) -> Made:
        """Make a channel; a webhook without a secret gets one.

        Raises Conflict `name_taken`, Invalid, AddressRefused, and Forbidden for a bound key.
        """
        _refuse_bound(by)
        kind, name, fallback = fields["kind"], fields["name"], fields.get("fallback")
        given = {key: value for key, value in fields.items() if key in SETTINGS}
        made = None
        if kind == ChannelKind.WEBHOOK and given.get("secret") is None:
            made = given["secret"] = secret_text(secrets.token_bytes(SECRET_BYTES))
        settings = settings_of(kind, given, allow_hosts=self._allow_hosts)
        await self._check_fallback(name, fallback)
        now_us = self._clock.now_us()
        now, channel_id = as_datetime(now_us), new_id("chn", now_us=now_us)
        channel = Channel(
            channel_id=channel_id,
            name=name,
            kind=kind,
            settings=settings.plain,
            secrets=self._box.seal(settings.secret, about=channel_id),
            fallback=fallback,
            created_at=now,
            updated_at=now,
            created_by=by.key_id,
        )
        stored = await self._store.insert(channel)
        if stored is None:
            raise Conflict(f"there is a channel {name} already", code="name_taken")
        log.info("channel_created", channel=name, kind=kind, by=by.key_id)
        return Made(stored, made)

    async def change(self, name: str, changes: Mapping[str, Any], *, by: Principal) -> Channel:
        """Change the given fields; null clears one. What waits for the channel is tried at once.

        Raises NotFound, Invalid, AddressRefused, and Forbidden for a bound key.
        """
        _refuse_bound(by)
        if changes.get("fallback") is not None:
            await self._check_fallback(name, changes["fallback"])

        def change(channel: Channel) -> Channel:
            settings = self._changed(channel, changes)
            return replace(
                channel,
                settings=settings.plain,
                secrets=self._box.seal(settings.secret, about=channel.channel_id),
                fallback=changes.get("fallback", channel.fallback),
            )

        channel = await self._store.change(name, change)
        if channel is None:
            raise _unknown(name)
        log.info("channel_changed", channel=name, by=by.key_id, fields=sorted(changes))
        return channel

    def _changed(self, channel: Channel, changes: Mapping[str, Any]) -> Settings:
        try:
            kept = self._box.open(channel.secrets, about=channel.channel_id)
        except WrongSecretKey:
            # The key is lost, and with it the secrets; whoever gives them anew can go on.
            kept = {}
        given = {key: value for key, value in changes.items() if key in SETTINGS}
        merged = {**channel.settings, **kept, **given}
        if channel.kind == ChannelKind.WEBHOOK and merged.get("secret") is None:
            raise Invalid("a webhook has a secret; give another one", code="missing")
        return settings_of(channel.kind, merged, allow_hosts=self._allow_hosts)

    async def delete(self, name: str, *, by: Principal) -> list[str]:
        """Remove a channel; returns the names of the rules that still name it.

        Raises NotFound, and Forbidden for a bound key.
        """
        _refuse_bound(by)
        rules = await self._store.rules_of(name)
        if not await self._store.delete(name):
            raise _unknown(name)
        log.info("channel_deleted", channel=name, by=by.key_id, rules=len(rules))
        return rules

    async def _check_fallback(self, name: str, fallback: str | None) -> None:
        if fallback is None:
            return
        if fallback == name:
            raise _bad_fallback("a channel can't be its own fallback")
        if fallback not in await self._store.find([fallback]):
            raise _bad_fallback(f"there is no channel {fallback}")


def _seen(channel: Channel, by: Principal) -> Channel:
    return channel if by.sees_everything else replace(channel, settings={}, last_error=None)


def _refuse_bound(by: Principal) -> None:
    if not by.sees_everything:
        raise Forbidden(
            "a key that is bound to devices, groups or metrics can't change channels",
            code="outside_patterns",
        )


def _bad_fallback(detail: str) -> Invalid:
    errors = [{"pointer": "/fallback", "code": "unknown_channel", "detail": detail}]
    return Invalid(f"{detail[0].upper()}{detail[1:]}.", code="unknown_channel", errors=errors)


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no channel {name}", code="unknown_channel")
