"""Health of the daemon: for load balancers, monitoring and people."""

from typing import Any, Literal

from pydantic import Field

from telemetryctl.api.model import Answer


class Health(Answer):
    """Whether the daemon can do its work; unhealthy answers come with 503."""

    status: Literal["healthy", "unhealthy"]
    service: Literal["telemetry_service"] = "telemetry_service"
    port: int
    version: str
    dependencies: dict[str, Literal["up", "down"]]


class HealthDetailed(Health):
    """The same with the numbers behind it, one object for each part.

    Counters are those of the process that answers; with several, `process` says which it was.
    """

    process: dict[Literal["number", "of"], int]
    data_ingestion: dict[str, Any]
    time_series_db: dict[str, Any]
    alert_engine: dict[str, Any]
    real_time_stream: dict[str, Any]
    performance: dict[str, Any]


class Readiness(Answer):
    """Whether requests should be sent here now."""

    ready: bool
    reasons: list[str] = Field(default_factory=list)


class Liveness(Answer):
    """The process answers."""

    alive: bool = True
