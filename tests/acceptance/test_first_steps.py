"""What a newcomer does first, with the real daemon and the real command line."""

from __future__ import annotations

import json

from daemons import API, DaemonProcess


def test_a_point_goes_in_and_comes_back(daemon: DaemonProcess) -> None:
    daemon.cli("write", "bus_7", "speed=31.5", "--unit", "speed=mph", "doors=closed")

    latest = json.loads(daemon.cli("latest", "bus_7", "-o", "json").stdout)

    assert latest["latest"]["bus_7"]["speed"]["value"] == 31.5
    assert latest["latest"]["bus_7"]["speed"]["unit"] == "mph"
    assert latest["latest"]["bus_7"]["doors"]["value"] == "closed"


def test_everything_but_health_needs_a_key(daemon: DaemonProcess) -> None:
    with daemon.http() as http:
        http.headers.pop("authorization")

        codes = {
            path: http.get(daemon.url + path).status_code
            for path in (
                "/health",
                "/health/live",
                "/health/ready",
                f"{API}/devices",
                f"{API}/stats",
            )
        }

    assert codes == {
        "/health": 200,
        "/health/live": 200,
        "/health/ready": 200,
        f"{API}/devices": 401,
        f"{API}/stats": 401,
    }
