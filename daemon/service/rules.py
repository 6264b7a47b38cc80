"""Alert rules: making, finding, judging, changing and removing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from daemon.clock import Clock, as_datetime
from daemon.domain import tellings
from daemon.domain.access import Principal
from daemon.domain.alert_record import Ended
from daemon.domain.errors import Conflict, Forbidden, Invalid, NotFound
from daemon.domain.ids import new_id
from daemon.domain.lint import Finding, Severity, lint
from daemon.domain.patterns import as_like
from daemon.domain.rule_request import AlertRule, Ending, changed_rule, ending, new_rule
from daemon.log import get_logger
from daemon.service.rule_facts import RuleFacts
from daemon.store.alerts import Act
from daemon.store.rules import RULES_MAX, Edit, RuleFilter, RuleStore

NOT_STORED = "rul_not_stored"
"""The id of a rule that is only judged."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class Judged:
    """A rule that was made or changed, what lint says of it, and how many alerts ended with it."""

    rule: AlertRule
    findings: list[Finding]
    ended: int = 0


class Rules:
    """What a key may not see does not exist for it.

    A key that is bound to devices or groups changes only rules about nothing else.
    """

    def __init__(self, store: RuleStore, *, facts: RuleFacts, clock: Clock) -> None:
        self._store = store
        self._facts = facts
        self._clock = clock

    # -- reading ---------------------------------------------------------------------------------

    async def page(
        self, wanted: RuleFilter, *, by: Principal, limit: int, offset: int
    ) -> tuple[list[AlertRule], int]:
        """A page by name of what the key may see, and how many there are."""
        visible = replace(wanted, likes=as_like(by.metrics))
        if not by.is_bound:
            return await self._store.page(visible, limit=limit, offset=offset)
        rules, _ = await self._store.page(visible, limit=RULES_MAX, offset=0)
        seen = [rule for rule in rules if self._facts.is_visible(rule, by=by)]
        return await self._as_seen(seen[offset : offset + limit], by=by), len(seen)

    async def show(self, rule_id: str, *, by: Principal) -> AlertRule:
        """Raises NotFound."""
        rule = await self._store.find(rule_id)
        if rule is None or not self._facts.is_visible(rule, by=by):
            raise _unknown(rule_id)
        return (await self._as_seen([rule], by=by))[0]

    async def _as_seen(self, rules: list[AlertRule], *, by: Principal) -> list[AlertRule]:
        """Visible rules without what the key does not see: of a rule about more than its devices,
        its own alerts count."""
        wide = [rule.rule_id for rule in rules if not self._facts.is_in_reach(rule, by=by)]
        if not by.is_bound or not wide:
            return rules
        counted = await self._store.triggers(
            wide,
            device_likes=as_like(by.devices),
            seen_ids=None if by.groups is None else list(by.member_ids),
        )
        seen = []
        for rule in rules:
            if rule.rule_id in wide:
                triggers, last = counted.get(rule.rule_id, (0, None))
                rule = replace(rule, total_triggers=triggers, last_triggered=last)
            seen.append(self._facts.as_seen(rule, by=by))
        return seen

    async def lint(
        self, fields: Mapping[str, Any], *, rule_id: str | None, by: Principal
    ) -> list[Finding]:
        """What there is to say of a rule that is not stored, or of a stored one with changes.

        Raises NotFound, and Invalid for a rule that is not possible.
        """
        if rule_id is None:
            _refuse_nameless(fields)
            now = as_datetime(self._clock.now_us())
            rule = new_rule(fields, rule_id=NOT_STORED, now=now, by=by.key_id)
        else:
            rule = changed_rule(await self.show(rule_id, by=by), fields, by=by.key_id)
        return await self._findings(rule, by=by, strict=False)

    async def preview(
        self, rule_id: str, changes: Mapping[str, Any], *, by: Principal
    ) -> tuple[Judged, bool]:
        """What a change would do to what the key sees, and whether the rule would decide otherwise;
        nothing is changed.

        Raises what the change would raise for its fields.
        """
        before = await self.show(rule_id, by=by)
        after = changed_rule(before, changes, by=by.key_id)
        findings = await self._findings(after, by=by, strict=False)
        ends = ending(before, after, targets=partial(self._facts.seen_targets, by=by))
        ended = await self._store.count_ending(
            rule_id,
            ends,
            device_likes=as_like(by.devices),
            seen_ids=None if by.groups is None else list(by.member_ids),
        )
        return Judged(after, findings, ended), before.condition_key != after.condition_key

    async def _findings(self, rule: AlertRule, *, by: Principal, strict: bool) -> list[Finding]:
        """Raises Invalid for errors when that is wanted."""
        findings = lint(rule, await self._facts.gather(rule, by=by))
        errors = [
            {"pointer": "", "code": finding.code, "detail": finding.detail}
            for finding in findings
            if finding.severity is Severity.ERROR
        ]
        if strict and errors:
            raise Invalid(
                errors[0]["detail"],
                code=errors[0]["code"],
                errors=errors,
                members={"findings": [as_shown(finding) for finding in findings]},
            )
        return findings

    # -- changing --------------------------------------------------------------------------------

    async def create(self, fields: Mapping[str, Any], *, by: Principal, strict: bool) -> Judged:
        """Make a rule; with `strict`, not one that lint finds an error in.

        Raises Conflict `name_taken`, Invalid, and Forbidden outside the key's patterns.
        """
        now_us = self._clock.now_us()
        rule_id = new_id("rul", now_us=now_us)
        rule = new_rule(fields, rule_id=rule_id, now=as_datetime(now_us), by=by.key_id)
        self._refuse_out_of_reach(rule, by)
        findings = await self._findings(rule, by=by, strict=strict)
        stored = await self._store.insert(
            rule, tell=lambda rule: tellings.rule_created(rule, by=by.key_id, now_us=now_us)
        )
        if stored is None:
            raise Conflict(f"there is a rule {rule.name} already", code="name_taken")
        log.info("rule_created", rule_id=rule_id, name=rule.name, by=by.key_id)
        return Judged(stored, findings)

    async def change(
        self, rule_id: str, changes: Mapping[str, Any], *, by: Principal, strict: bool = False
    ) -> Judged:
        """Change the given fields; alerts end when that decides otherwise than before.

        Raises NotFound, Conflict `name_taken`, Invalid, and Forbidden outside the key's patterns.
        """
        before = await self.show(rule_id, by=by)
        # What lint says is of this moment, so it need not be said under a lock.
        findings = await self._findings(
            changed_rule(before, changes, by=by.key_id), by=by, strict=strict
        )

        def change(rule: AlertRule) -> AlertRule:
            self._refuse_out_of_reach(rule, by)
            after = changed_rule(rule, changes, by=by.key_id)
            self._refuse_out_of_reach(after, by)
            return after

        edit = self._edit(by, change=change, fields=sorted(changes))
        stored = await self._store.change(rule_id, edit)
        if stored is None:
            raise _unknown(rule_id)
        rule, ended = stored
        fields = sorted(changes)
        log.info("rule_changed", rule_id=rule_id, by=by.key_id, fields=fields, ended=len(ended))
        return Judged(rule, findings, len(ended))

    async def delete(self, rule_id: str, *, by: Principal) -> tuple[AlertRule, int]:
        """Remove a rule; its alerts end. Raises NotFound, Forbidden outside the key's patterns."""
        rule = await self.show(rule_id, by=by)

        def check(rule: AlertRule) -> AlertRule:
            self._refuse_out_of_reach(rule, by)
            return rule

        edit = self._edit(by, change=check)
        edit = replace(
            edit,
            ending=lambda before, after: Ending(Ended.RULE_DELETED),
            tell=lambda before, after: tellings.rule_deleted(
                after, by=by.key_id, now_us=self._clock.now_us()
            ),
        )
        ended = await self._store.delete(rule_id, edit)
        if ended is None:
            raise _unknown(rule_id)
        log.info("rule_deleted", rule_id=rule_id, by=by.key_id, ended=len(ended))
        return rule, len(ended)

    def _edit(self, by: Principal, *, change: Any, fields: list[str] | None = None) -> Edit:
        now_us, name = self._clock.now_us(), by.key_id
        return Edit(
            change=change,
            ending=lambda before, after: ending(before, after, targets=self._facts.targets),
            act=Act(name, as_datetime(now_us), Ended.RULE_CHANGED),
            tell=lambda before, after: tellings.rule_updated(
                after, fields or [], by=name, now_us=now_us
            ),
            tell_ended=lambda alert: tellings.alert_resolved(alert, by=name, now_us=now_us),
        )

    def _refuse_out_of_reach(self, rule: AlertRule, by: Principal) -> None:
        if not self._facts.is_in_reach(rule, by=by):
            raise Forbidden(
                "the key's patterns do not reach all that the rule watches", code="outside_patterns"
            )


def as_shown(finding: Finding) -> dict[str, str]:
    """The finding as the contract shows it."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "detail": finding.detail,
    }


def _refuse_nameless(fields: Mapping[str, Any]) -> None:
    errors = [
        {"pointer": f"/{name}", "code": "missing", "detail": f"a rule needs {name}"}
        for name in ("name", "metric_name")
        if name not in fields
    ]
    if errors:
        raise Invalid(f"The rule is not possible: {errors[0]['detail']}.", errors=errors)


def _unknown(rule_id: str) -> NotFound:
    return NotFound(f"there is no rule {rule_id}", code="unknown_rule")
