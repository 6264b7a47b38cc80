"""Who asks, and what they may do. How a credential becomes a Principal is decided in
service/keys."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from daemon.domain.errors import Forbidden

SCOPES = (
    "ingest",
    "read",
    "alerts:write",
    "metrics:write",
    "devices:write",
    "export",
    "keys",
    "admin",
)
TIERS = ("free", "pro", "enterprise")


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a key. `devices` and `metrics` are glob patterns over the whole id; None means
    all.

    A key that is bound to groups sees their members only, so without `devices` it sees no device by
    pattern.
    """

    key_id: str
    name: str
    scopes: frozenset[str]
    tier: str = "free"
    devices: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None

    def require(self, scope: str) -> None:
        """Raises Forbidden unless the key carries the scope; `admin` carries all."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Forbidden(f"this needs the scope {scope}")

    @property
    def sees_everything(self) -> bool:
        return self.devices is None and self.groups is None and self.metrics is None

    def sees_device(self, device_id: str) -> bool:
        if self.devices is None:
            return self.groups is None
        return any(fnmatchcase(device_id, p) for p in self.devices)

    def sees_metric(self, metric_name: str) -> bool:
        return self.metrics is None or any(fnmatchcase(metric_name, p) for p in self.metrics)
