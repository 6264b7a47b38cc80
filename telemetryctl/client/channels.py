"""The endpoints of channels, messages and silences."""

from collections.abc import Mapping
from typing import Any

from telemetryctl.client.calls import Calls, segment
from telemetryctl.client.wire import Document


class ChannelCalls(Calls):
    """One method for each endpoint, as those of client/http."""

    # Channels.

    def create_channel(self, channel: Mapping[str, Any]) -> Document:
        """POST /channels."""
        return self._post("/channels", body=channel, is_idempotent=False)

    def list_channels(self, **filters: Any) -> Document:
        """GET /channels with `kind, limit, offset`."""
        return self._get("/channels", params=filters)

    def get_channel(self, name: str) -> Document:
        """GET /channels/{name}."""
        return self._get(f"/channels/{segment(name)}")

    def patch_channel(self, name: str, *, changes: Mapping[str, Any]) -> Document:
        """PATCH /channels/{name}."""
        return self._send("PATCH", f"/channels/{segment(name)}", body=changes)

    def delete_channel(self, name: str) -> Document:
        """DELETE /channels/{name}."""
        return self._send("DELETE", f"/channels/{segment(name)}")

    def test_channel(self, name: str) -> Document:
        """POST /channels/{name}/test."""
        return self._post(f"/channels/{segment(name)}/test", body={}, is_idempotent=False)

    # Messages.

    def list_notifications(self, **filters: Any) -> Document:
        """GET /notifications with `channel, status, alert_id, kind, limit, offset`."""
        return self._get("/notifications", params=filters)

    def retry_notification(self, notification_id: str) -> Document:
        """POST /notifications/{notification_id}/retry."""
        return self._post(f"/notifications/{segment(notification_id)}/retry", body={})

    # Silences.

    def create_silence(self, silence: Mapping[str, Any]) -> Document:
        """POST /silences."""
        return self._post("/silences", body=silence, is_idempotent=False)

    def list_silences(self, **filters: Any) -> Document:
        """GET /silences with `expired, limit, offset`."""
        return self._get("/silences", params=filters)

    def get_silence(self, silence_id: str) -> Document:
        """GET /silences/{silence_id}."""
        return self._get(f"/silences/{segment(silence_id)}")

    def patch_silence(self, silence_id: str, *, changes: Mapping[str, Any]) -> Document:
        """PATCH /silences/{silence_id}."""
        return self._send("PATCH", f"/silences/{segment(silence_id)}", body=changes)

    def expire_silence(self, silence_id: str) -> Document:
        """DELETE /silences/{silence_id}."""
        return self._send("DELETE", f"/silences/{segment(silence_id)}")
