"""GET /metrics: open to the networks of `[metrics] allow`, and to keys with `read`.

It stands beside the API: a document of figures for machines, which OpenAPI has no words for.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from daemon.service.figures import Figures
from daemon.transport.auth import authenticate, token_of
from daemon.transport.exposition import CONTENT_TYPE, exposition
from daemon.transport.proxies import is_vouched_for
from daemon.transport.routing import problem_response
from daemon.transport.services import Services

METRICS_PATH = "/metrics"
# Who comes through a proxy that is not trusted has its address, which says nothing of them.
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")


def serve_metrics(app: FastAPI, services: Services) -> None:
    """Add the route."""
    figures = services.figures

    async def metrics(request: Request) -> Response:
        try:
            if not is_open_to(request, figures):
                principal = await authenticate(request.scope, services.keys)
                principal.require("read")
        except Exception as error:
            return problem_response(error, request)
        # Written in a thread: it takes some milliseconds, and everybody else would wait.
        page = await asyncio.to_thread(exposition, figures.read(), process=figures.process)
        return Response(page, 200, {"Cache-Control": "no-store", "Content-Type": CONTENT_TYPE})

    app.add_route(METRICS_PATH, metrics, include_in_schema=False)


def is_open_to(request: Request, figures: Figures) -> bool:
    """Whether the address alone is enough; a key that was sent is always looked at."""
    if token_of(request.scope["headers"]) is not None:
        return False
    is_proxied = any(name in request.headers for name in _FORWARDED)
    if request.client is None or (is_proxied and not is_vouched_for(request.scope)):
        return False
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return False
    return any(address in network for network in figures.allow)
