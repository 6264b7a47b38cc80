"""Which file of this folder delivers to which kind of channel."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.delivery import alertmanager, apprise, email, slack, stream, webhook
from daemon.delivery.outbound import Outbound
from daemon.domain.channels import ChannelKind
from daemon.domain.deliveries import Address, Outcome, Outgoing
from daemon.store.events import EventStore


class Senders:
    """Delivers one message to one channel."""

    def __init__(self, outbound: Outbound, *, events: EventStore, clock: Clock) -> None:
        self._outbound = outbound
        self._events = events
        self._clock = clock

    async def deliver(self, outgoing: Outgoing, address: Address) -> Outcome:
        """One attempt; what the other side does is in the outcome, never raised."""
        outbound = self._outbound
        match ChannelKind(address.kind):
            case ChannelKind.STREAM:
                return await stream.send(outgoing, address, events=self._events, clock=self._clock)
            case ChannelKind.WEBHOOK:
                return await webhook.send(outgoing, address, outbound=outbound, clock=self._clock)
            case ChannelKind.SLACK:
                return await slack.send(outgoing, address, outbound=outbound)
            case ChannelKind.EMAIL:
                return await email.send(outgoing, address, outbound=outbound)
            case ChannelKind.ALERTMANAGER:
                return await alertmanager.send(outgoing, address, outbound=outbound)
            case ChannelKind.APPRISE:
                return await apprise.send(outgoing, address, outbound=outbound)
