"""Apprise: the hundred services that it knows. It makes its connections by itself, so that only
hosts of [notifications] allow_hosts, and services with a host of their own, may be reached."""

from __future__ import annotations

import asyncio

from daemon.delivery.outbound import Outbound, Unreachable
from daemon.domain.addresses import AddressRefused
from daemon.domain.deliveries import Address, Outcome, Outgoing

TIMEOUT_S = 20.0
MISSING = "apprise is not installed: pip install 'telemetryctl[notify]'"


async def send(outgoing: Outgoing, address: Address, *, outbound: Outbound) -> Outcome:
    """Hand it over; apprise only says whether it went."""
    try:
        import apprise
    except ImportError:
        return Outcome(is_sent=False, detail=MISSING, is_final=True)
    plugin = apprise.Apprise.instantiate(address.secrets["url"], suppress_exceptions=True)
    if plugin is None:
        return Outcome(is_sent=False, detail="apprise does not know this URL", is_final=True)
    host = getattr(plugin, "host", None)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            if host:
                await outbound.resolve(str(host), 443)
            is_sent = await plugin.async_notify(body=outgoing.text, title=outgoing.title)
    except AddressRefused as error:
        return Outcome(is_sent=False, detail=error.detail, is_final=True)
    except Unreachable as error:
        return Outcome(is_sent=False, detail=str(error))
    except TimeoutError:
        return Outcome(is_sent=False, detail="no answer in time", may_be_told=True)
    detail = None if is_sent else "apprise could not deliver it"
    return Outcome(is_sent=bool(is_sent), detail=detail)
