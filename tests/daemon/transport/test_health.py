"""Health over HTTP (contract 9): true, at once, and without a credential."""

from __future__ import annotations

import pytest
from control import Control, bearer

from telemetryctl import __version__

pytestmark = pytest.mark.anyio
NO_CREDENTIAL = {"Authorization": ""}


async def test_a_healthy_daemon_says_so_to_everybody(control: Control) -> None:
    answer = await control.client.get("/health", headers=NO_CREDENTIAL)

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "healthy",
        "service": "telemetry_service",
        "port": 8218,
        "version": __version__,
        "dependencies": {"database": "up"},
    }


async def test_a_dead_database_is_a_503_everywhere_but_live(control: Control) -> None:
    await control.database.close()
    control.services.health.close()
    control.clock.advance_s(4)

    health = await control.client.get("/health", headers=NO_CREDENTIAL)
    ready = await control.client.get("/health/ready", headers=NO_CREDENTIAL)
    detailed = await control.client.get("/health/detailed")
    live = await control.client.get("/health/live", headers=NO_CREDENTIAL)

    assert health.status_code == 503
    assert health.json()["dependencies"] == {"database": "down"}
    assert "retry-after" in health.headers
    assert ready.status_code == 503
    assert detailed.status_code == 503
    assert detailed.json()["time_series_db"]["status"] == "down"
    assert (live.status_code, live.json()) == (200, {"alive": True})


async def test_a_probe_that_fails_is_noticed_and_one_that_works_again_too(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = control.services.health
    good_dsn = control.database._dsn
    monkeypatch.setattr(control.database, "_dsn", "postgresql://nobody@127.0.0.1:1/none")
    health.close()
    await health.probe()
    is_down = not health.is_database_up
    monkeypatch.setattr(control.database, "_dsn", good_dsn)
    for _ in range(5):
        # A busy machine may take longer than a probe waits.
        if not health.is_database_up:
            await health.probe()

    assert is_down
    assert health.is_database_up


async def test_a_probe_that_hangs_counts_as_down(control: Control) -> None:
    before = control.services.health.is_database_up
    control.clock.advance_s(3.5)

    assert before
    assert not control.services.health.is_database_up


async def test_a_daemon_that_stops_is_not_ready_but_healthy(control: Control) -> None:
    control.services.health.draining()

    ready = await control.client.get("/health/ready")
    health = await control.client.get("/health")

    assert ready.status_code == 503
    assert ready.json() == {"ready": False, "reasons": ["the daemon is stopping"]}
    assert health.status_code == 200


async def test_numbers_are_for_holders_of_a_key(control: Control) -> None:
    anonymous = (await control.client.get("/health/detailed", headers=NO_CREDENTIAL)).json()
    stranger = (await control.client.get("/health/detailed", headers=bearer("x"))).json()
    known = (await control.client.get("/health/detailed")).json()

    assert anonymous["time_series_db"] == {"status": "up"}
    assert stranger["time_series_db"] == {"status": "up"}
    assert known["performance"]["uptime_s"] >= 0
    assert known["time_series_db"]["settings"]["full_page_writes"] == "on"
    for part in ("data_ingestion", "alert_engine", "real_time_stream"):
        assert anonymous[part] == {"status": "absent"}


async def test_a_database_without_fsync_is_shown_as_not_durable(control: Control) -> None:
    known = (await control.client.get("/health/detailed")).json()

    # The server of the tests runs without fsync; one for data says true here.
    assert known["time_series_db"]["durable_commits"] is False


async def test_a_section_gives_its_numbers(control: Control) -> None:
    control.services.health.add_section("data_ingestion", lambda: {"points_total": 7})

    known = (await control.client.get("/health/detailed")).json()

    assert known["data_ingestion"] == {"status": "up", "points_total": 7}


@pytest.mark.parametrize(
    ("alias", "path"), [("/livez", "/health/live"), ("/readyz", "/health/ready")]
)
async def test_kubernetes_finds_its_names(control: Control, alias: str, path: str) -> None:
    called = await control.client.get(alias, headers=NO_CREDENTIAL)
    plain = await control.client.get(path, headers=NO_CREDENTIAL)

    assert (called.status_code, called.json()) == (200, plain.json())
