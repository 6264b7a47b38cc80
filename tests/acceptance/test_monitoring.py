"""What monitoring sees: /metrics of a real daemon, the rules and the dashboard that we ship, and a
real Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from daemons import DaemonProcess, started
from prometheus_client.parser import text_string_to_metric_families
from receivers import free_port

from daemon.config import Config

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES, DASHBOARD = DEPLOY / "prometheus" / "rules.yml", DEPLOY / "grafana" / "telemetryd.json"
MISSING = "promtool is not installed (apt-get install prometheus)"
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason=MISSING)
_NAME = re.compile(r"\b(?:telemetry|process|python)_[a-z0-9_]+")


@pytest.fixture(scope="module")
def busy(daemon: DaemonProcess) -> DaemonProcess:
    """A daemon that has done a little of everything that is counted."""
    with daemon.http() as http:
        for value in (1, 2, "not a number"):
            point = {"metric_name": "t", "value": value, "timestamp": time.time()}
            http.post("/devices/d1/telemetry", json=point)
        http.post("/devices/d1/telemetry", json={"metric_name": "t"})
        http.get("/devices/d1/metrics/t/latest")
        http.get("/devices/d1")
        http.get("/nothing/here")
    # Those that are known last: they are looked up a moment after the start, or each half minute.
    late = ("telemetry_journal_bytes", "telemetry_db_size_bytes")
    deadline = time.monotonic() + 120
    while any(name not in page(daemon) for name in late) and time.monotonic() < deadline:
        time.sleep(0.1)
    return daemon


def page(daemon: DaemonProcess) -> str:
    answer = httpx.get(daemon.url + "/metrics", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def samples(daemon: DaemonProcess) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page(daemon)):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@needs_promtool
def test_promtool_accepts_the_page(busy: DaemonProcess) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=page(busy), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_requests_are_counted_by_the_template_of_their_route(busy: DaemonProcess) -> None:
    found = samples(busy)
    counted = {(of["route"], of["code"]) for of, _ in found["telemetry_http_requests_total"]}

    assert ("/api/v1/telemetry/devices/{device_id}/telemetry", "200") in counted
    assert ("/api/v1/telemetry/devices/{device_id}", "200") in counted
    assert ("other", "404") in counted
    assert not [route for route, _ in counted if "d1" in route]
    assert not [route for route, _ in counted if route in ("/metrics", "/health")]


def test_points_are_counted_stored_and_refused(busy: DaemonProcess) -> None:
    found = samples(busy)
    points = {of["outcome"]: value for of, value in found["telemetry_ingest_points_total"]}

    assert points["stored"] >= 2
    assert points["refused"] == sum(
        value for _, value in found["telemetry_ingest_rejected_points_total"]
    )
    assert found["telemetry_ingest_batch_points_count"][0][1] >= 1
    assert found["telemetry_db_up"] == [({"process": "1"}, 1.0)]


def test_no_figure_names_a_device_or_a_metric(busy: DaemonProcess) -> None:
    labels = {name for values in samples(busy).values() for of, _ in values for name in of}

    assert not labels & {"device", "device_id", "metric", "metric_name"}


def test_behind_a_proxy_a_key_that_reads_is_needed(busy: DaemonProcess) -> None:
    behind = {"X-Forwarded-For": "203.0.113.7"}
    url = busy.url + "/metrics"
    with busy.http() as http:
        made = http.post("/keys", json={"name": "i", "scopes": ["ingest"], "tier": "free"}).json()

    def status(headers: dict[str, str]) -> int:
        return httpx.get(url, headers=headers, timeout=30).status_code

    assert status(behind) == 401
    assert status(behind | {"Authorization": f"Bearer {busy.key}"}) == 200
    assert status({"Authorization": f"Bearer {made['key']}"}) == 403
    assert status({"Authorization": "Bearer tlm_wrong"}) == 401


@pytest.mark.anyio
async def test_each_process_says_whether_anybody_judges(dsn: str) -> None:
    """A monitor keeps its connection, so it reaches one process, and takes that for the daemon."""
    daemon = await started(dsn, server__processes="2")
    said: dict[str, float] = {}
    own: dict[str, float] = {}
    try:
        deadline = time.monotonic() + 100
        # Who leads may change meanwhile: each is asked until both say the same.
        while (
            len(said) < 2 or not all(said.values()) or sum(own.values()) != 1
        ) and time.monotonic() < deadline:
            found = samples(daemon)
            ((of, leads),) = found["telemetry_scheduler_leader"]
            said[of["process"]] = leads
            own[of["process"]] = next(
                value for of, value in found["telemetry_leader"] if of["work"] == "evaluator"
            )
            await asyncio.sleep(0.05)
    finally:
        daemon.kill()

    assert said == {"1": 1.0, "2": 1.0}
    assert sum(own.values()) == 1.0


@pytest.mark.anyio
async def test_rules_can_watch_the_daemon_itself(dsn: str) -> None:
    daemon = await started(dsn, metrics__own_every="200ms")
    try:
        with daemon.http() as http:
            wanted = {f"telemetryd.{name}" for name in ("latency_ms", "error_rate")}
            wanted |= {"telemetryd.scheduler_lag_s", "telemetryd.uptime_s"}
            found: list[str] = []
            deadline = time.monotonic() + 100
            while not wanted <= set(found) and time.monotonic() < deadline:
                await asyncio.sleep(0.2)
                answer = http.get("/devices/telemetryd/metrics")
                found = answer.json()["metrics"] if answer.status_code == 200 else []
            value = http.get("/devices/telemetryd/metrics/telemetryd.uptime_s/latest").json()
    finally:
        daemon.kill()

    assert wanted <= set(found)
    assert value["value"] > 0


def test_a_daemon_writes_its_health_unless_told_not_to() -> None:
    assert Config().metrics.own_every == timedelta(minutes=1)


# -- what we ship -----------------------------------------------------------------------------


def expressions() -> list[str]:
    rules = yaml.safe_load(RULES.read_text())
    found = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = json.loads(DASHBOARD.read_text())
    return found + [target["expr"] for one in board["panels"] for target in one["targets"]]


def test_each_figure_of_the_rules_and_the_dashboard_is_there(busy: DaemonProcess) -> None:
    there = set(samples(busy))
    asked = {name for text in expressions() for name in _NAME.findall(text)}

    assert len(asked) > 20
    assert asked - there == set()


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    for kind, file in (("rules", "rules.yml"), ("config", "prometheus.yml")):
        done = subprocess.run(
            ["promtool", "check", kind, file],
            cwd=RULES.parent, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def prometheus(busy: DaemonProcess, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus that scrapes the daemon each second; gives its address."""
    if not shutil.which("prometheus"):
        pytest.skip(MISSING)
    address = f"127.0.0.1:{free_port()}"
    config = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES)]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [busy.url.split("//")[1]]
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    server = subprocess.Popen(
        ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address={address}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until_ready(f"http://{address}/-/ready")
        yield f"http://{address}"
    finally:
        server.kill()
        server.wait(60)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "prometheus does not get ready"
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_a_real_prometheus_answers_every_query_that_we_ship(prometheus: str) -> None:
    def ask(query: str) -> list[Any]:
        answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=30)
        assert answer.status_code == 200, f"{query}: {answer.text}"
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def without_answer() -> list[str]:
        """Queries that find nothing, though they don't ask for what goes wrong."""
        empty = []
        for query in expressions():
            plain = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
            result = ask(plain)
            if not result and not re.search(r"[<>=]=? ?[\d.]+|>=|5\.\.|429", plain):
                empty.append(plain)
        return empty

    def is_up() -> bool:
        """A scrape that takes over a second, on a busy machine, is none."""
        return [found["value"][1] for found in ask('up{job="telemetry"}')] == ["1"]

    # Two scrapes are needed before anything has a rate.
    deadline = time.monotonic() + 300
    empty = ["nothing was asked"]
    while empty:
        assert time.monotonic() < deadline, empty
        try:
            empty = without_answer() or ([] if is_up() else ["up"])
        except httpx.TransportError as error:
            empty = [str(error)]
        time.sleep(0.5)


def test_the_names_are_those_that_are_documented(busy: DaemonProcess) -> None:
    """As dashboards of others know them; the last lines are our own."""
    wanted = """
        build_info{version,python,schema} http_requests_total{route,method,code}
        http_request_duration_seconds_bucket{route,method} http_requests_in_flight
        ingest_points_total{protocol,outcome} ingest_rejected_points_total{reason}
        ingest_batch_points_bucket ingest_commit_delay_seconds_bucket ingest_queue_points
        ingest_queue_capacity_points point_lateness_seconds_bucket
        stream_connections{transport} stream_messages_total{transport}
        stream_dropped_messages_total{reason} stream_delivery_delay_seconds_bucket
        alert_evaluations_total{outcome} alert_evaluation_delay_seconds_bucket alerts{level,state}
        scheduler_leader scheduler_lag_seconds
        notifications_total{channel_type,outcome} notification_queue_length
        outbox_events outbox_oldest_seconds rate_limited_total{class,tier}
        db_pool_connections{pool,state} db_query_duration_seconds_bucket{query} db_up
        retention_dropped_points_total partitions{state}
        stream_dropped_points_total{reason} log_dropped_lines_total
        auth_internal_header_ignored_total cache_lookups_total{cache,outcome}
    """
    found = samples(busy)
    for one in wanted.split():
        name, _, labels = one.rstrip("}").partition("{")
        assert f"telemetry_{name}" in found
        (of, _), *_ = found[f"telemetry_{name}"]

        assert set(labels.split(",")) - {""} == set(of) - {"process", "le"}, name
    queries = {of["query"] for of, _ in found["telemetry_db_query_duration_seconds_count"]}
    assert "journal.append" in queries
    assert {"process_resident_memory_bytes", "python_gc_collections_total"} <= set(found)
