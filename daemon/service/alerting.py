"""What is behind the routes of rules, alerts and long work, wired; like service/reads."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.clock import Clock
from daemon.service.alerts import Alerts
from daemon.service.backtests import BACKTEST, Backtests, make_backtests
from daemon.service.explaining import Explaining
from daemon.service.history import History
from daemon.service.jobs import Jobs
from daemon.service.ledger import Ledger
from daemon.service.rule_facts import RuleFacts
from daemon.service.rules import Rules
from daemon.service.tail import Tail
from daemon.service.watches import Watches
from daemon.store.alerts import AlertStore
from daemon.store.explanations import ExplanationStore
from daemon.store.jobs import JobStore
from daemon.store.pool import Database
from daemon.store.rules import RuleStore
from daemon.store.silences import SilenceStore
from daemon.store.watches import WatchStore


@dataclass(frozen=True, slots=True)
class Alerting:
    """One of each."""

    rules: Rules
    alerts: Alerts
    backtests: Backtests
    jobs: Jobs
    watches: Watches
    explaining: Explaining


def make_alerting(database: Database, *, tail: Tail, ledger: Ledger, clock: Clock) -> Alerting:
    """The services over this process's views."""
    store = RuleStore(database)
    facts = RuleFacts(store, registry=tail.registry, head=tail.head)
    rules = Rules(store, facts=facts, clock=clock)
    backtests = make_backtests(database, tail=tail, rules=rules, facts=facts, clock=clock)
    jobs = Jobs(
        JobStore(database),
        handlers={BACKTEST: backtests},
        holder=tail.journal.writer,
        clock=clock,
    )
    watches = Watches(WatchStore(database), registry=tail.registry, clock=clock)
    alerts = Alerts(AlertStore(database), store, clock=clock)
    explaining = Explaining(
        ExplanationStore(database),
        SilenceStore(database),
        alerts,
        rules,
        facts,
        ledger,
        History(database, tail.registry, tail.head, clock),
        tail.latest,
        clock,
    )
    return Alerting(rules, alerts, backtests, jobs, watches, explaining)
