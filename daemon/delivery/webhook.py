"""Webhooks: a CloudEvent in JSON, signed as Standard Webhooks say
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson

from daemon.clock import Clock
from daemon.delivery.outbound import Outbound
from daemon.domain.channels import key_of
from daemon.domain.deliveries import Address, Outcome, Outgoing


async def send(
    outgoing: Outgoing, address: Address, *, outbound: Outbound, clock: Clock
) -> Outcome:
    """POST it; 2xx is sent."""
    body = orjson.dumps(cloud_event(outgoing), option=orjson.OPT_UTC_Z)
    stamp = clock.now_us() // 1_000_000
    key = key_of(address.secrets["secret"])
    headers = {
        "Content-Type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": outgoing.id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": signature(body, id=outgoing.id, stamp=stamp, key=key),
        **outgoing.links,
    }
    return await outbound.post(address.settings["url"], body, headers=headers)


def cloud_event(outgoing: Outgoing) -> dict[str, Any]:
    """In structured mode (CloudEvents 1.0, JSON format)."""
    event = {
        "specversion": "1.0",
        "id": outgoing.id,
        "type": outgoing.type,
        "source": outgoing.source,
        "time": outgoing.time,
        "subject": outgoing.subject,
        "datacontenttype": "application/json",
        "data": outgoing.data,
    }
    return {name: value for name, value in event.items() if value is not None}


def signature(body: bytes, *, id: str, stamp: int, key: bytes) -> str:
    """HMAC-SHA256 over id, time and body, so that none of them can be exchanged."""
    signed = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"
