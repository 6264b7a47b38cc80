"""The HTTP interface beside the hot routes: routers, errors, OpenAPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.domain.errors import DomainError
from daemon.domain.rights import Operation
from daemon.service.ingest import Ingest
from daemon.transport import openapi
from daemon.transport.access_log import AccessLogMiddleware
from daemon.transport.compression import Compression
from daemon.transport.cors import Cors
from daemon.transport.docs_pages import DOCS_PATHS, Docs
from daemon.transport.errors import answer_of
from daemon.transport.head_requests import HeadRequests
from daemon.transport.hot_reads import HotReads
from daemon.transport.ingest import IngestRoutes
from daemon.transport.internal_calls import InternalCalls
from daemon.transport.methods import Methods, paths_of
from daemon.transport.operations import operations_of
from daemon.transport.paths import EncodedSlashMiddleware
from daemon.transport.proxies import ClientAddress
from daemon.transport.reception import StreamParts
from daemon.transport.request_id import RequestIdMiddleware, request_id_of
from daemon.transport.routes import (
    accounts,
    admin,
    alerts,
    auth,
    changes,
    channels,
    devices,
    events,
    explanations,
    export,
    groups,
    health,
    jobs,
    key_access,
    keys,
    latest,
    metrics,
    notifications,
    query,
    rates,
    rules,
    silences,
    stats,
    subscriptions,
    tickets,
    watches,
)
from daemon.transport.routing import on_error
from daemon.transport.scrape import serve_metrics
from daemon.transport.security_headers import NothingStored, TransportSecurity
from daemon.transport.services import Services
from daemon.transport.stream_doors import StreamDoors
from telemetryctl import __version__

App: TypeAlias = ASGIApp
"""What can be served, for those who only hand it on."""
PREFIX = openapi.PREFIX

API_ROUTERS: tuple[APIRouter, ...] = (
    metrics.router,
    # Before devices: its paths are longer.
    stats.router,
    rates.router,
    devices.router,
    groups.router,
    # Before rules and alerts: its paths are longer.
    jobs.router,
    rules.router,
    alerts.router,
    channels.router,
    silences.router,
    watches.router,
    explanations.router,
    notifications.router,
    query.router,
    latest.router,
    changes.router,
    subscriptions.router,
    tickets.router,
    export.router,
    keys.router,
    key_access.router,
    admin.router,
    accounts.router,
    events.router,
)
ROOT_ROUTERS: tuple[APIRouter, ...] = (health.router, auth.router)


def describe(routers: Sequence[APIRouter] = ()) -> FastAPI:
    """The routes and the document that describes them, with nothing behind them."""
    app = FastAPI(
        title="telemetryctl",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    for router in (*API_ROUTERS, *routers):
        app.include_router(router, prefix=PREFIX)
    for router in ROOT_ROUTERS:
        app.include_router(router)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=openapi.DESCRIPTION,
                routes=app.routes,
            )
            app.openapi_schema = openapi.complete(made)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    return app


def served_paths(routers: Sequence[APIRouter] = ()) -> dict[str, set[str]]:
    """The methods of every path, which the document takes long to say."""
    routed = paths_of((*API_ROUTERS, *routers), prefix=PREFIX) | paths_of(ROOT_ROUTERS)
    for methods in routed.values():
        if "GET" in methods:
            methods.add("HEAD")
    return routed | openapi.HOT_PATHS


def served_operations(routers: Sequence[APIRouter] = ()) -> list[Operation]:
    """Every operation of the document; those of bare ASGI come last."""
    api = operations_of((*API_ROUTERS, *routers), prefix=PREFIX)
    return [*api, *operations_of(ROOT_ROUTERS), *openapi.HOT_OPERATIONS]


def build_fastapi(
    services: Services, *, routers: Sequence[APIRouter] = (), docs: bool = True
) -> FastAPI:
    """The application without middleware; `routers` are further ones below `/api/v1/telemetry`."""
    app = describe(routers)
    app.state.services = services
    docs_paths = {path: {"GET", "HEAD"} for path in DOCS_PATHS} if docs else {}
    app.state.methods = Methods(served_paths(routers) | docs_paths)
    app.state.operations = served_operations(routers)
    for kind in (HTTPException, RequestValidationError, DomainError, Exception):
        app.add_exception_handler(kind, on_error)
    serve_metrics(app, services)
    return app


def build_api(
    services: Services, *, routers: Sequence[APIRouter] = (), docs: bool = True
) -> ASGIApp:
    """The routes behind their middleware: the last line sees a request first."""
    routes = build_fastapi(services, routers=routers, docs=docs)
    app: ASGIApp = Compression(routes)
    if docs:
        app = Docs(app, document=routes.openapi)
    # Around what holds heads back: an answer that failed before its head went out is a problem.
    app = LastResort(app)
    app = EncodedSlashMiddleware(app)
    app = NothingStored(app)
    app = HeadRequests(app)
    app = AccessLogMiddleware(app, access=services.access, clock=services.clock)
    app = RequestIdMiddleware(app)
    return HotReads(
        app,
        latest=services.reads.latest,
        gate=services.gate,
        access=services.access,
        clock=services.clock,
    )


def build_app(
    services: Services, *, ingest: Ingest, streams: StreamParts, docs: bool = True
) -> ASGIApp:
    """All that any socket serves: the last line sees a request first.

    What each answer carries, whichever of these made it, the server adds (transport/server).
    """
    app = build_api(services, docs=docs)
    app = IngestRoutes(
        app,
        ingest=ingest,
        gate=services.gate,
        access=services.access,
    )
    app = StreamDoors(app, parts=streams, access=services.access)
    app = Cors(app, origins=lambda: streams.origins, access=services.access, clock=services.clock)
    return TransportSecurity(app)


def open_to_all(app: ASGIApp, services: Services) -> ASGIApp:
    """The application as the public port serves it."""
    app = InternalCalls(app, ignored=services.ignored)
    return ClientAddress(app, proxies=services.proxies)


class LastResort:
    """An error that nothing else answered becomes a 500 problem here; the server never sees one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_and_note(message: Any) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            # Half an answer can't be taken back: the connection has to break, so that nobody takes
            # it for a whole one.
            # Starlette raises again what it has answered; that answer is complete.
            if is_started:
                raise
            answer = answer_of(_within(error), request_id=request_id_of(scope))
            start = {"type": "http.response.start", "status": answer.status}
            await send(start | {"headers": answer.raw_headers()})
            await send({"type": "http.response.body", "body": answer.body})


def _within(error: Exception) -> BaseException:
    """What Starlette wraps when an answer had begun: a domain error has a status of its own."""
    cause = error.__cause__
    return cause if isinstance(error, RuntimeError) and isinstance(cause, DomainError) else error
