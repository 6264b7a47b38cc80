"""The services that routes call; made in app.py and put where routes find them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from daemon.clock import Clock
from daemon.live.traffic import Traffic
from daemon.service.administration import Administration
from daemon.service.alerts import Alerts
from daemon.service.backtests import Backtests
from daemon.service.channels import Channels
from daemon.service.concurrency import Places
from daemon.service.devices import Devices
from daemon.service.events import Events
from daemon.service.explaining import Explaining
from daemon.service.figures import Figures
from daemon.service.group_states import GroupStates
from daemon.service.groups import Groups
from daemon.service.health import Health
from daemon.service.idempotency import Idempotency
from daemon.service.jobs import Jobs
from daemon.service.key_access import KeyAccess
from daemon.service.keys import Keys
from daemon.service.ledger import Ledger
from daemon.service.limits import Limits
from daemon.service.metrics import Metrics
from daemon.service.rates import Rates
from daemon.service.reads import Reads
from daemon.service.rules import Rules
from daemon.service.sessions import Sessions
from daemon.service.silences import Silences
from daemon.service.stats import Stats
from daemon.service.subscriptions import Subscriptions
from daemon.service.tickets import Tickets
from daemon.service.watches import Watches
from daemon.transport.access_log import AccessLog
from daemon.transport.internal_calls import Ignored
from daemon.transport.limits import Gate
from daemon.transport.proxies import Proxies


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One of each.

    Fields of neighbours stand here too, so that a route finds them all in one place.
    """

    clock: Clock
    traffic: Traffic
    access: AccessLog
    ignored: Ignored
    keys: Keys
    key_access: KeyAccess
    limits: Limits
    gate: Gate
    metrics: Metrics
    devices: Devices
    events: Events
    groups: Groups
    group_states: GroupStates
    rules: Rules
    alerts: Alerts
    channels: Channels
    silences: Silences
    ledger: Ledger
    watches: Watches
    explaining: Explaining
    backtests: Backtests
    jobs: Jobs
    stats: Stats
    rates: Rates
    health: Health
    reads: Reads
    subscriptions: Subscriptions
    tickets: Tickets
    administration: Administration
    idempotency: Idempotency
    figures: Figures = field(default_factory=Figures)
    queries: Places = field(default_factory=Places)
    sessions: Sessions
    proxies: Proxies = field(default_factory=Proxies)
    port: int = 0


async def services_of(request: Request) -> Services:
    """A FastAPI dependency; asynchronous, since FastAPI moves others to a thread."""
    return cast(Services, request.app.state.services)


Parts = Annotated[Services, Depends(services_of)]
