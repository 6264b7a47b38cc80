"""Every operation that the OpenAPI document names, without making the document."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter

from daemon.domain.rights import Operation
from daemon.transport.routing import GuardedRoute


def operations_of(routers: Iterable[APIRouter], *, prefix: str = "") -> list[Operation]:
    """Those of these routers below the prefix, in their order."""
    return [
        Operation(route.operation_id or "", min(route.methods or ()), prefix + route.path_format,
                  route.scope_needed or "")
        for router in routers
        for route in router.routes
        if isinstance(route, GuardedRoute) and route.include_in_schema
    ]  # fmt: skip
