"""A small client of a telemetry daemon. It needs Python 3.11 and nothing else: copy it.

telemetry = Telemetry("http://127.0.0.1:8218", os.environ["TELEMETRY_KEY"])
telemetry.send("boiler_1", [{"timestamp": now(), "metric_name": "pressure", "value": 2.4}])
for point in telemetry.query("pressure", start=..., end=...): ...
for point in telemetry.follow(metrics=["pressure"]): ...
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

BUSY = {429, 502, 503, 504}
"""Nothing is wrong with the request: the same one may work later."""
TRIES = 5
WAIT_MAX_S = 60.0
BATCH_POINTS_MAX = 1_000


class Problem(Exception):
    """The daemon said no. `code` is for programs, `detail` for people, `request_id` for its log."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(
            f"{status} {body.get('code', '')}: {body.get('detail', 'no reason given')}"
        )
        self.status = status
        self.code: str = body.get("code", "")
        self.detail: str = body.get("detail", "")
        self.request_id: str | None = body.get("request_id")
        self.body = body


class Telemetry:
    """One daemon. Calls raise Problem for a refusal, and OSError when it can't be reached."""

    def __init__(self, server: str, key: str, *, timeout_s: float = 30.0) -> None:
        self._base = server.rstrip("/") + "/api/v1/telemetry"
        self._key = key
        self._timeout_s = timeout_s

    def send(self, device_id: str, points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Store points of a device; what comes back are those that were refused, with the reason.

        Each batch has an id, so that one whose answer was lost is stored once all the same.
        """
        refused: list[dict[str, Any]] = []
        path = f"/devices/{urllib.parse.quote(device_id, safe='')}/telemetry/batch"
        for first in range(0, len(points), BATCH_POINTS_MAX):
            batch = list(points[first : first + BATCH_POINTS_MAX])
            body = {"data_points": batch, "batch_id": str(uuid.uuid4())}
            try:
                answer = self.call("POST", path, body=body)
            except Problem as problem:
                # A batch in which nothing was good says so for each point, as any other.
                if problem.status != 422 or "total_count" not in problem.body:
                    raise
                answer = problem.body
            refused += [{**e, "point": batch[e["index"]]} for e in answer["errors"]]
        return refused

    def query(self, *metrics: str, start: str, end: str, **more: Any) -> Iterator[dict[str, Any]]:
        """All points of the time, however many pages they take; `more` as in `POST /query`."""
        body = {"metrics": list(metrics), "start_time": start, "end_time": end, **more}
        while True:
            page = self.call("POST", "/query", body=body)
            yield from page["data_points"]
            if not page["next_cursor"]:
                return
            body["cursor"] = page["next_cursor"]

    def follow(
        self, *, devices: Sequence[str] = (), metrics: Sequence[str] = (), cursor: str = "now"
    ) -> Iterator[dict[str, Any]]:
        """Points as they are stored, each once, without end. A point carries a `cursor`: keep it
        when you have dealt with the point, and begin there the next time. A program that dies in
        the middle of a page gets that page again."""
        if cursor == "now":
            cursor = self.call("GET", "/changes?after=now&limit=1")["cursor"]
        params = {"device_ids": ",".join(devices), "metric_names": ",".join(metrics)}
        while True:
            asked = {**{k: v for k, v in params.items() if v}, "after": cursor, "wait": "20"}
            page = self.call("GET", "/changes?" + urllib.parse.urlencode(asked))
            if page["gap"]:
                raise LookupError(f"points are gone: {page['gap']}")
            before, cursor = cursor, page["cursor"]
            for number, point in enumerate(page["data_points"], 1):
                is_last = number == len(page["data_points"])
                yield {**point, "cursor": cursor if is_last else before}

    def call(self, method: str, path: str, *, body: Any = None) -> Any:
        """One request below /api/v1/telemetry, made again while the daemon is busy or away."""
        for attempt in range(1, TRIES + 1):
            try:
                return self._once(method, path, body)
            except Problem as problem:
                if problem.status not in BUSY or attempt == TRIES:
                    raise
                wait_s = float(problem.body.get("retry_after") or 0) or self._pause_s(attempt)
            except (OSError, http.client.HTTPException):
                if attempt == TRIES:
                    raise
                wait_s = self._pause_s(attempt)
            time.sleep(min(wait_s, WAIT_MAX_S) * random.uniform(1.0, 1.2))
        raise AssertionError("the last attempt returns or raises")

    @staticmethod
    def _pause_s(attempt: int) -> float:
        return float(0.5 * 2**attempt)

    def _once(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            self._base + path, data=data, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise Problem(error.code, _problem_of(error.read())) from None


def _problem_of(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        # A proxy in between answers in HTML.
        return {}
    return found if isinstance(found, dict) else {}


def now() -> str:
    """A stamp as the daemon takes it."""
    return datetime.now(UTC).isoformat()
