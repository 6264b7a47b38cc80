"""Channels of kind stream: the message becomes an event, which the feed and the streams show."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.domain.deliveries import Address, Outcome, Outgoing
from daemon.domain.events import EventType, new_event
from daemon.store.events import EventStore

BY = "telemetryd"


async def send(
    outgoing: Outgoing, address: Address, *, events: EventStore, clock: Clock
) -> Outcome:
    """Append it, once however often it is tried."""
    # Who may see it: those who see the device; what is not of one device, only who sees everything.
    device_id = outgoing.data.get("device_id")
    event = new_event(
        EventType.NOTIFICATION,
        outgoing.title,
        by=BY,
        now_us=clock.now_us(),
        severity=outgoing.level,
        subject=outgoing.subject,
        data={"channel": address.channel, "type": outgoing.type, **outgoing.data},
        device_id=device_id,
        metric_name=outgoing.data.get("metric_name") if device_id else None,
        dedup_id=outgoing.id,
    )
    await events.insert(event)
    return Outcome(is_sent=True)
