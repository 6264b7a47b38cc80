"""The endpoints of rules and alerts."""

from collections.abc import Mapping
from typing import Any

from telemetryctl.client.calls import Calls, segment
from telemetryctl.client.wire import Document


class AlertCalls(Calls):
    """One method for each endpoint, as those of client/http."""

    # Rules.

    def create_rule(self, rule: Mapping[str, Any], *, is_strict: bool = False) -> Document:
        """POST /alerts/rules; with `is_strict`, what lint calls an error is refused."""
        params = _strict(is_strict)
        return self._post("/alerts/rules", body=rule, params=params, is_idempotent=False)

    def list_rules(self, **filters: Any) -> Document:
        """GET /alerts/rules with `enabled, level, metric_name, name, limit, offset`."""
        return self._get("/alerts/rules", params=filters)

    def get_rule(self, rule_id: str) -> Document:
        """GET /alerts/rules/{rule_id}."""
        return self._get(f"/alerts/rules/{segment(rule_id)}")

    def patch_rule(
        self, rule_id: str, *, changes: Mapping[str, Any], is_strict: bool = False
    ) -> Document:
        """PATCH /alerts/rules/{rule_id}."""
        path = f"/alerts/rules/{segment(rule_id)}"
        return self._send("PATCH", path, body=changes, params=_strict(is_strict))

    def preview_rule(self, rule_id: str, *, changes: Mapping[str, Any]) -> Document:
        """POST /alerts/rules/{rule_id}/preview: what a change would end."""
        return self._post(f"/alerts/rules/{segment(rule_id)}/preview", body=changes)

    def enable_rule(self, rule_id: str, *, is_enabled: bool) -> Document:
        """PUT /alerts/rules/{rule_id}/enable."""
        path = f"/alerts/rules/{segment(rule_id)}/enable"
        return self._send("PUT", path, body={"enabled": is_enabled})

    def delete_rule(self, rule_id: str) -> Document:
        """DELETE /alerts/rules/{rule_id}."""
        return self._send("DELETE", f"/alerts/rules/{segment(rule_id)}")

    def lint_rule(self, rule: Mapping[str, Any]) -> Document:
        """POST /alerts/rules/lint with a rule, or `rule_id` and changes."""
        return self._post("/alerts/rules/lint", body=rule)

    # Alerts.

    def list_alerts(self, **filters: Any) -> Document:
        """GET /alerts with `status, level, device_id, rule_id, metric_name, start_time, end_time,
        shadow, limit, offset`."""
        return self._get("/alerts", params=filters)

    def get_alert(self, alert_id: str) -> Document:
        """GET /alerts/{alert_id}."""
        return self._get(f"/alerts/{segment(alert_id)}")

    def acknowledge_alert(self, alert_id: str, *, note: str | None = None) -> Document:
        """PUT /alerts/{alert_id}/acknowledge; again changes nothing."""
        return self._act(alert_id, "acknowledge", note=note)

    def resolve_alert(self, alert_id: str, *, note: str | None = None) -> Document:
        """PUT /alerts/{alert_id}/resolve."""
        return self._act(alert_id, "resolve", note=note)

    def _act(self, alert_id: str, verb: str, *, note: str | None) -> Document:
        body = {} if note is None else {"note": note}
        return self._send("PUT", f"/alerts/{segment(alert_id)}/{verb}", body=body)


def _strict(is_strict: bool) -> dict[str, str] | None:
    return {"strict": "true"} if is_strict else None
