"""Channels: the kinds there are, what each has to be told, and which of it is secret. How each
delivers is its file in delivery."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.addresses import AddressRefused, check_host, target_of
from daemon.domain.errors import Invalid

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 8, 512
RECIPIENTS_MAX = 50
# What a mail server takes as an address, without any of what would end a header or a command.
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")


class ChannelKind(StrEnum):
    """How a message leaves."""

    STREAM = "stream"
    WEBHOOK = "webhook"
    SLACK = "slack"
    EMAIL = "email"
    ALERTMANAGER = "alertmanager"
    APPRISE = "apprise"


class MailTls(StrEnum):
    """How mail is encrypted; auto: from the start on port 465, else once the server offers it."""

    AUTO = "auto"
    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class _Fields:
    """Names of what a kind needs and takes; `secret` ones are encrypted and never shown."""

    needed: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    secret: frozenset[str] = frozenset()

    @property
    def known(self) -> frozenset[str]:
        return self.needed | self.optional


def _fields(needed: str = "", optional: str = "", secret: str = "") -> _Fields:
    return _Fields(*(frozenset(names.split()) for names in (needed, optional, secret)))


FIELDS: Mapping[ChannelKind, _Fields] = {
    ChannelKind.STREAM: _fields(),
    ChannelKind.WEBHOOK: _fields("url", "secret", "secret"),
    # Whoever knows the address of such a hook may use it.
    ChannelKind.SLACK: _fields("url", secret="url"),
    ChannelKind.EMAIL: _fields("host from to", "port tls username password", "password"),
    ChannelKind.ALERTMANAGER: _fields("url", "username password", "password"),
    ChannelKind.APPRISE: _fields("url", secret="url"),
}
SETTINGS = frozenset().union(*(fields.known for fields in FIELDS.values()))
"""All names of settings of all kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A row of the table; `secrets` are sealed."""

    channel_id: str
    name: str
    kind: str
    settings: Mapping[str, Any]
    secrets: bytes | None = field(repr=False)
    fallback: str | None
    failures: int = 0
    open_until: datetime | None = None
    last_sent_at: datetime | None = None
    last_failed_at: datetime | None = None
    last_error: str | None = None
    revision: int = 1
    created_at: datetime
    updated_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What a channel is told, apart by what may be shown."""

    plain: dict[str, Any]
    secret: dict[str, Any] = field(repr=False)


def settings_of(kind: str, given: Mapping[str, Any], *, allow_hosts: Collection[str]) -> Settings:
    """The checked settings of a kind; null ones are absent. Raises Invalid, AddressRefused."""
    fields = FIELDS[ChannelKind(kind)]
    said = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(set(said) - fields.known):
        raise _wrong(unknown[0], f"a channel of kind {kind} has no {unknown[0]}", "unknown_field")
    if missing := sorted(fields.needed - set(said)):
        raise _wrong(missing[0], f"a channel of kind {kind} needs {missing[0]}", "missing")
    match ChannelKind(kind):
        case ChannelKind.WEBHOOK | ChannelKind.SLACK | ChannelKind.ALERTMANAGER:
            _check_url(said["url"], allow_hosts)
        case ChannelKind.EMAIL:
            said = _mail(said, allow_hosts)
        case ChannelKind.STREAM | ChannelKind.APPRISE:
            pass
    if kind == ChannelKind.WEBHOOK and "secret" in said:
        key_of(said["secret"])
    secret = {name: value for name, value in said.items() if name in fields.secret}
    return Settings({n: v for n, v in said.items() if n not in fields.secret}, secret)


def shown(channel: Channel) -> dict[str, Any]:
    """The channel as the contract shows it, its settings beside the rest; secrets only by name."""
    names = FIELDS[ChannelKind(channel.kind)].secret
    return {
        "channel_id": channel.channel_id,
        "name": channel.name,
        "kind": channel.kind,
        **channel.settings,
        "secrets": sorted(names) if channel.secrets is not None else [],
        "fallback": channel.fallback,
        "failures": channel.failures,
        "resting_until": channel.open_until,
        "last_sent_at": channel.last_sent_at,
        "last_failed_at": channel.last_failed_at,
        "last_error": channel.last_error,
        "revision": channel.revision,
        "created_at": channel.created_at,
        "updated_at": channel.updated_at,
        "created_by": channel.created_by,
    }


def secret_text(key: bytes) -> str:
    """A signing key as people pass it on (Standard Webhooks, "Signature scheme")."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def key_of(secret: str) -> bytes:
    """The signing key of `whsec_<base64>`. Raises Invalid."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong("secret", "secret is whsec_ and base64", "bad_value") from error
    if not secret.startswith(SECRET_PREFIX) or not (
        SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX
    ):
        detail = f"secret is whsec_ and base64 of {SECRET_BYTES_MIN} bytes or more"
        raise _wrong("secret", detail, "bad_value")
    return key


def _check_url(url: str, allow_hosts: Collection[str]) -> None:
    try:
        target_of(url, allow_hosts=allow_hosts)
    except AddressRefused as error:
        raise _wrong("url", error.detail, error.error_code) from error


def _mail(said: dict[str, Any], allow_hosts: Collection[str]) -> dict[str, Any]:
    try:
        is_trusted = check_host(said["host"], allow_hosts=allow_hosts)
    except AddressRefused as error:
        raise _wrong("host", error.detail, error.error_code) from error
    to = said["to"] if isinstance(said["to"], list) else [said["to"]]
    if not 1 <= len(to) <= RECIPIENTS_MAX:
        raise _wrong("to", f"to is one to {RECIPIENTS_MAX} addresses", "bad_value")
    for name, mailbox in (("from", said["from"]), *(("to", one) for one in to)):
        if not _MAILBOX.fullmatch(mailbox):
            raise _wrong(name, f"{name} is no address of mail", "bad_value")
    tls = said.setdefault("tls", MailTls.AUTO)
    if tls == MailTls.NONE and not is_trusted:
        raise _wrong(
            "tls", "mail without TLS goes only to hosts of [notifications] allow_hosts", "bad_value"
        )
    if ("username" in said) != ("password" in said):
        raise _wrong("password", "username and password go together", "bad_value")
    said.setdefault("port", 465 if tls == MailTls.TLS else 587)
    return said | {"to": to}


def _wrong(field_name: str, detail: str, code: str) -> Invalid:
    errors = [{"pointer": f"/{field_name}", "code": code, "detail": detail}]
    return Invalid(f"The channel is not possible: {detail}.", code=code, errors=errors)
