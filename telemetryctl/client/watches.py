"""The endpoints of watches, and those that explain."""

from collections.abc import Mapping
from typing import Any

from telemetryctl.client.calls import Calls, segment
from telemetryctl.client.wire import Document


class WatchCalls(Calls):
    """One method for each endpoint, as those of client/http."""

    def create_watch(self, watch: Mapping[str, Any]) -> Document:
        """POST /watches."""
        return self._post("/watches", body=watch, is_idempotent=False)

    def list_watches(self, **filters: Any) -> Document:
        """GET /watches with `state, limit, offset`."""
        return self._get("/watches", params=filters)

    def get_watch(self, watch_id: str) -> Document:
        """GET /watches/{watch_id}."""
        return self._get(f"/watches/{segment(watch_id)}")

    def patch_watch(self, watch_id: str, *, changes: Mapping[str, Any]) -> Document:
        """PATCH /watches/{watch_id}."""
        return self._send("PATCH", f"/watches/{segment(watch_id)}", body=changes)

    def delete_watch(self, watch_id: str) -> Document:
        """DELETE /watches/{watch_id}."""
        return self._send("DELETE", f"/watches/{segment(watch_id)}")

    def explain_alert(self, alert_id: str) -> Document:
        """GET /alerts/{alert_id}/explain."""
        return self._get(f"/alerts/{segment(alert_id)}/explain")

    def explain_rule(self, rule_id: str, *, device_id: str, at: str | None = None) -> Document:
        """GET /alerts/rules/{rule_id}/explain with `device_id` and `at`."""
        params = {"device_id": device_id} | ({} if at is None else {"at": at})
        return self._get(f"/alerts/rules/{segment(rule_id)}/explain", params=params)
