"""One method for each endpoint; each returns the API's JSON as it is, or raises ServerProblem."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from telemetryctl.client.accounts import AccountCalls
from telemetryctl.client.alerts import AlertCalls
from telemetryctl.client.calls import BASE, encode, segment
from telemetryctl.client.channels import ChannelCalls
from telemetryctl.client.errors import ServerProblem
from telemetryctl.client.jobs import JobCalls
from telemetryctl.client.lean import httpx
from telemetryctl.client.objects import ObjectCalls
from telemetryctl.client.watches import WatchCalls
from telemetryctl.client.wire import Call, Document


class Client(AccountCalls, AlertCalls, ChannelCalls, JobCalls, ObjectCalls, WatchCalls):
    """The endpoints of one daemon, as methods; those of alerts and jobs are in their own files."""

    # Ingest. A point that is sent twice overwrites itself, so all of these may be sent again.

    def send_point(
        self, device_id: str, *, point: Mapping[str, Any], is_dry_run: bool = False
    ) -> Document:
        """POST /devices/{device_id}/telemetry."""
        path = f"/devices/{segment(device_id)}/telemetry"
        return self._post(path, body=point, params=_dry_run(is_dry_run))

    def send_batch(
        self,
        device_id: str,
        *,
        points: Sequence[Mapping[str, Any]],
        batch_id: str | None = None,
        is_dry_run: bool = False,
        compression: str | None = None,
    ) -> Document:
        """POST /devices/{device_id}/telemetry/batch; a batch of refused points is an answer too."""
        body: Document = {"data_points": points}
        if batch_id:
            body["batch_id"] = batch_id
        path = f"/devices/{segment(device_id)}/telemetry/batch"
        return self._ingest(path, body=body, is_dry_run=is_dry_run, compression=compression)

    def send_bulk(
        self,
        points: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        is_dry_run: bool = False,
        compression: str | None = None,
    ) -> Document:
        """POST /bulk with points by device."""
        return self._ingest("/bulk", body=points, is_dry_run=is_dry_run, compression=compression)

    def send_columns(
        self,
        series: Sequence[Mapping[str, Any]],
        *,
        batch_id: str | None = None,
        is_dry_run: bool = False,
        compression: str | None = None,
    ) -> Document:
        """POST /columns with series of `timestamps` and `values`."""
        body: Document = {"series": series}
        if batch_id:
            body["batch_id"] = batch_id
        return self._ingest("/columns", body=body, is_dry_run=is_dry_run, compression=compression)

    def _ingest(
        self, path: str, *, body: Mapping[str, Any], is_dry_run: bool, compression: str | None
    ) -> Document:
        payload, headers = encode(body, compression=compression)
        call = Call("POST", BASE + path, params=_dry_run(is_dry_run), body=payload, headers=headers)
        try:
            return self.request(call).document()
        except ServerProblem as problem:
            # 422 with counts says what became of each point; that is the answer, not an accident.
            if problem.status == 422 and "total_count" in problem.problem:
                return problem.problem
            raise

    # Metric definitions.

    def create_metric(self, definition: Mapping[str, Any]) -> Document:
        """POST /metrics."""
        return self._post("/metrics", body=definition, is_idempotent=False)

    def list_metrics(self, **filters: Any) -> Document:
        """GET /metrics with `data_type, metric_type, q, limit, offset`."""
        return self._get("/metrics", params=filters)

    def get_metric(self, name: str) -> Document:
        """GET /metrics/{metric_name}."""
        return self._get(f"/metrics/{segment(name)}")

    def patch_metric(self, name: str, *, changes: Mapping[str, Any]) -> Document:
        """PATCH /metrics/{metric_name}."""
        return self._send("PATCH", f"/metrics/{segment(name)}", body=changes)

    def delete_metric(self, name: str) -> Document:
        """DELETE /metrics/{metric_name}."""
        return self._send("DELETE", f"/metrics/{segment(name)}")

    # Reading.

    def query(self, body: Mapping[str, Any]) -> Document:
        """POST /query."""
        return self._post("/query", body=body)

    def get_latest(self, device_id: str, *, metric_name: str, lookback: str) -> Document:
        """GET /devices/{device_id}/metrics/{metric_name}/latest."""
        path = f"/devices/{segment(device_id)}/metrics/{segment(metric_name)}/latest"
        return self._get(path, params={"lookback": lookback})

    def list_latest(self, **filters: Any) -> Document:
        """GET /latest with `device_ids, metric_names, lookback, group, type, bbox, view`."""
        return self._get("/latest", params=filters)

    def device_metrics(self, device_id: str) -> Document:
        """GET /devices/{device_id}/metrics."""
        return self._get(f"/devices/{segment(device_id)}/metrics")

    def get_range(self, device_id: str, *, metric_name: str, **filters: Any) -> Document:
        """GET /devices/{device_id}/metrics/{metric_name}/range."""
        path = f"/devices/{segment(device_id)}/metrics/{segment(metric_name)}/range"
        return self._get(path, params=filters)

    def aggregated(self, **filters: Any) -> Document:
        """GET /aggregated."""
        return self._get("/aggregated", params=filters)

    def changes(self, **filters: Any) -> Document:
        """GET /changes with `after, device_ids, metric_names, groups, tags, limit, wait`."""
        return self._get("/changes", params=filters)

    @contextmanager
    def export_csv(self, **filters: Any) -> Iterator[httpx.Response]:
        """GET /export/csv as a stream; read it with `iter_bytes()` or `iter_lines()`.

        There is no bound on the whole, only on each read. Raises ServerProblem (404: no rows),
        and TryLater, also inside the `with` block.
        """
        call = Call("GET", f"{BASE}/export/csv", params=filters, headers={"Accept": "text/csv"})
        with self.stream(call) as response:
            yield response

    # Devices, figures, health.

    def list_devices(self, **filters: Any) -> Document:
        """GET /devices with `type, group, tag.K, status, bbox, limit, offset`."""
        return self._get("/devices", params=filters)

    def get_device(self, device_id: str) -> Document:
        """GET /devices/{device_id}."""
        return self._get(f"/devices/{segment(device_id)}")

    def patch_device(self, device_id: str, *, changes: Mapping[str, Any]) -> Document:
        """PATCH /devices/{device_id}."""
        return self._send("PATCH", f"/devices/{segment(device_id)}", body=changes)

    def delete_device(self, device_id: str) -> Document:
        """DELETE /devices/{device_id}."""
        return self._send("DELETE", f"/devices/{segment(device_id)}")

    # Groups.

    def create_group(self, group: Mapping[str, Any]) -> Document:
        """POST /groups."""
        return self._post("/groups", body=group, is_idempotent=False)

    def list_groups(self, **filters: Any) -> Document:
        """GET /groups with `kind, name, parent_id, rollup, by, limit, offset`."""
        return self._get("/groups", params=filters)

    def get_group(self, group_id: str) -> Document:
        """GET /groups/{group_id}."""
        return self._get(f"/groups/{segment(group_id)}")

    def patch_group(self, group_id: str, *, changes: Mapping[str, Any]) -> Document:
        """PATCH /groups/{group_id}."""
        return self._send("PATCH", f"/groups/{segment(group_id)}", body=changes)

    def delete_group(self, group_id: str) -> Document:
        """DELETE /groups/{group_id}."""
        return self._send("DELETE", f"/groups/{segment(group_id)}")

    def group_devices(self, group_id: str, **filters: Any) -> Document:
        """GET /groups/{group_id}/devices with `include, metric, state, tag.K, limit, offset`."""
        return self._get(f"/groups/{segment(group_id)}/devices", params=filters)

    def add_group_device(self, group_id: str, device_id: str) -> Document:
        """PUT /groups/{group_id}/devices/{device_id}."""
        return self._send("PUT", f"/groups/{segment(group_id)}/devices/{segment(device_id)}")

    def remove_group_device(self, group_id: str, device_id: str) -> Document:
        """DELETE /groups/{group_id}/devices/{device_id}."""
        return self._send("DELETE", f"/groups/{segment(group_id)}/devices/{segment(device_id)}")

    def device_stats(self, device_id: str) -> Document:
        """GET /devices/{device_id}/stats."""
        return self._get(f"/devices/{segment(device_id)}/stats")

    def stats(self) -> Document:
        """GET /stats."""
        return self._get("/stats")

    def rates(self, **filters: Any) -> Document:
        """GET /rates with `by, window, limit`."""
        return self._get("/rates", params=filters)

    def list_partitions(self) -> Document:
        """GET /admin/partitions."""
        return self._get("/admin/partitions")

    def run_retention(self) -> Document:
        """POST /admin/retention/run."""
        return self._post("/admin/retention/run", body={})

    def server_time(self) -> datetime | None:
        """The server's clock by the `Date` of an answer, in whole seconds; None without one."""
        said = self.request(Call("GET", "/health/live")).headers.get("date")
        return None if said is None else parsedate_to_datetime(said)

    def figures(self) -> str:
        """GET /metrics, as Prometheus reads it."""
        return self.request(Call("GET", "/metrics")).body.decode()

    def health(self) -> Document:
        """GET /health; an unhealthy daemon's answer is returned like a healthy one's."""
        return self._health("/health")

    def health_detailed(self) -> Document:
        """GET /health/detailed, likewise."""
        return self._health("/health/detailed")

    def _health(self, path: str) -> Document:
        try:
            return self.request(Call("GET", path), tries=1).document()
        except ServerProblem as problem:
            if problem.status == 503 and "dependencies" in problem.problem:
                return problem.problem
            raise

    # Events.

    def list_events(self, **filters: Any) -> Document:
        """GET /events with `after, type, severity, limit, wait`."""
        return self._get("/events", params=filters)

    def get_event(self, event_id: str) -> Document:
        """GET /events/{event_id}."""
        return self._get(f"/events/{segment(event_id)}")

    def create_event(self, event: Mapping[str, Any]) -> Document:
        """POST /events; with a `dedup_id` it may be sent again."""
        return self._post("/events", body=event, is_idempotent="dedup_id" in event)

    # Keys and access.

    def create_key(self, body: Mapping[str, Any]) -> Document:
        """POST /keys; the answer holds the secret, once."""
        return self._post("/keys", body=body, is_idempotent=False)

    def list_keys(self, **filters: Any) -> Document:
        """GET /keys with `limit, offset`."""
        return self._get("/keys", params=filters)

    def get_key(self, key_id: str) -> Document:
        """GET /keys/{key_id}."""
        return self._get(f"/keys/{segment(key_id)}")

    def key_access(self, key_id: str, **asked: Any) -> Document:
        """GET /keys/{key_id}/access with `operation, device_id, metric_name`; `self` is one's own
        key."""
        return self._get(f"/keys/{segment(key_id)}/access", params=asked)

    def revoke_key(self, key_id: str) -> Document:
        """DELETE /keys/{key_id}."""
        return self._send("DELETE", f"/keys/{segment(key_id)}")

    def rotate_key(
        self, key_id: str, *, overlap: str | None = None, signing_key: str | None = None
    ) -> Document:
        """POST /keys/{key_id}/rotate; the answer holds the new secret, once."""
        given = {"overlap": overlap, "signing_key": signing_key}
        body = {name: value for name, value in given.items() if value}
        return self._post(f"/keys/{segment(key_id)}/rotate", body=body, is_idempotent=False)

    def whoami(self) -> Document:
        """GET /auth/whoami."""
        return self.request(Call("GET", "/auth/whoami")).document()


def _dry_run(is_dry_run: bool) -> dict[str, str] | None:
    return {"dry_run": "true"} if is_dry_run else None
