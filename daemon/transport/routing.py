"""The route class of the API: access before body, bounded bodies, every error a problem."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from daemon.domain.access import Principal
from daemon.domain.errors import DomainError, Invalid, Malformed, TooLarge, UnsupportedEncoding
from daemon.transport.answers import JsonAnswer
from daemon.transport.auth import ANY_SCOPE, NO_CREDENTIAL, declared_scope
from daemon.transport.bodies import GONE_STATUS, WIRE_BYTES_MAX, ClientGone
from daemon.transport.errors import ErrorAnswer, answer_of
from daemon.transport.etags import made, respond_tagged, tag_change, tagged
from daemon.transport.idempotency import is_once, key_in, respond_once
from daemon.transport.leaving import unless_gone
from daemon.transport.limits import class_of
from daemon.transport.paging import link_to_next
from daemon.transport.problems import problem
from daemon.transport.request_id import request_id_of
from daemon.transport.signatures import check_body

JSON_VALUES_MAX = 100_000
"""In one body: to make objects of more would hold everybody else up for long."""
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}]
_CODES = {400: "malformed", 404: "not_found", 405: "method_not_allowed"}
# An unparsable body is malformed (400), a body of the wrong shape invalid (422); see C-20.
_UNPARSABLE = frozenset({"json_invalid"})

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class UndeclaredScope(Exception):
    """A route neither requires a scope nor says that it needs no credential."""


class GuardedRoute(APIRoute):
    """A route that declares its scope: by `requires`, or by `openapi_extra={"x-scope": "none"}`.

    Raises UndeclaredScope when it does not, so that no route is open by oversight.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        extra = dict(self.openapi_extra or {})
        self.scope_needed = declared_scope(self.dependant) or extra.get("x-scope")
        if self.scope_needed is None:
            raise UndeclaredScope(f"{path} declares no scope")
        extra["x-scope"] = self.scope_needed
        extra["security"] = [] if self.scope_needed == NO_CREDENTIAL else SECURITY
        self.openapi_extra = extra
        self._ends_with_client: bool = getattr(endpoint, "ends_with_client", False)
        self._is_long_read: bool = getattr(endpoint, "is_long_read", False)
        method = min(self.methods or {"GET"})
        self._what = tagged(path)
        self._makes = made(path) if method == "POST" else None
        self._is_once = is_once(method, path) and self.scope_needed != NO_CREDENTIAL
        self.rate_class = class_of(method, path)

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            gate = request.app.state.services.gate
            try:
                await self._check_access(request)
                if self.body_field is not None:
                    await _take_json_body(request)
                response = await self._answer(inner, request)
            except Exception as error:
                gate.note(request.scope, error)
                response = problem_response(error, request)
            response.raw_headers.extend(gate.headers(request.scope))
            return response

        return handle

    async def _answer(self, inner: Handler, request: Request) -> Response:
        """Once, when the client wants that; with a tag, or only for the tag it names; with a link
        to the next page."""
        what = self._what
        respond = inner if what is None else lambda asked: respond_tagged(asked, what, inner)
        key = key_in(request.scope["headers"]) if self._is_once else None
        if key is not None:
            response = await respond_once(request, key, respond)
        else:
            response = await self._in_place(respond, request)
        if self._makes is not None:
            tag_change(response, noun=self._makes)
        if isinstance(response, JsonAnswer) and response.next_offset is not None:
            response.headers["Link"] = link_to_next(request, response.next_offset)
        return response

    async def _in_place(self, inner: Handler, request: Request) -> Response:
        """What the endpoint answers, in its place if it is a long read (transport/leaving)."""
        if not self._ends_with_client:
            return await inner(request)

        async def in_place() -> Response:
            if not self._is_long_read:
                return await inner(request)
            async with request.app.state.services.queries.place(request.state.principal):
                return await inner(request)

        return await unless_gone(request.scope, in_place)

    async def _check_access(self, request: Request) -> None:
        if self.scope_needed == NO_CREDENTIAL:
            return
        principal = await request.app.state.services.gate.enter(request.scope, self.rate_class)
        request.state.principal = principal
        if self.scope_needed not in (ANY_SCOPE, None):
            principal.require(self.scope_needed)


def new_router(**options: Any) -> APIRouter:
    """A router whose routes are GuardedRoutes."""
    return APIRouter(route_class=GuardedRoute, **options)


async def _take_json_body(request: Request) -> None:
    """Read the body up to WIRE_BYTES_MAX; it is JSON whatever the content type says.

    Raises TooLarge, UnsupportedEncoding, Invalid for too many values, DigestMismatch.
    """
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise UnsupportedEncoding("this route takes no content encoding")
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > WIRE_BYTES_MAX:
            raise TooLarge(f"the body is larger than {WIRE_BYTES_MAX} bytes")
        parts.append(part)
    # Where Starlette keeps a body that was read; FastAPI asks for it there.
    body = request._body = b"".join(parts)
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is not None and principal.signing_key is not None:
        check_body(request.scope, body)
    if body.count(b",") > JSON_VALUES_MAX:
        # Each value but the first has a comma: to make so many objects would take long.
        raise Invalid(f"there are more than {JSON_VALUES_MAX:,} values", code="too_many_values")
    if not request.headers.get("content-type", "").startswith("application/json"):
        headers = [h for h in request.scope["headers"] if h[0] != b"content-type"]
        request.scope["headers"] = [*headers, (b"content-type", b"application/json")]
        request.__dict__.pop("_headers", None)


def problem_response(error: Exception, request: Request) -> Response:
    """The answer to anything that a route, or the routing itself, raised."""
    own_id = request_id_of(request.scope)
    match error:
        case RequestValidationError():
            answer = answer_of(_from_validation(error.errors()), request_id=own_id)
        case ClientDisconnect() | ClientGone():
            # Nobody reads it; in the log it is no failure of ours.
            answer = answer_of(Malformed("the client went", code="client_gone"), request_id=own_id)
            answer = replace(answer, status=GONE_STATUS)
        case HTTPException():
            answer = _from_http(error, request)
        case _:
            answer = answer_of(error, request_id=own_id)
    response = Response(answer.body, answer.status)
    response.raw_headers = [*answer.raw_headers(), (b"cache-control", b"no-store")]
    return response


async def on_error(request: Request, error: Exception) -> Response:
    """`problem_response` as an exception handler of the application."""
    return problem_response(error, request)


ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]


def _from_http(error: HTTPException, request: Request) -> ErrorAnswer:
    """What Starlette itself refuses: unknown paths and methods, unreadable bodies."""
    request_id = request_id_of(request.scope)
    if error.status_code in (404, 405):
        allowed = request.app.state.methods.allowed(request.scope["path"])
        if allowed and request.method not in allowed.split(", "):
            error = HTTPException(405, headers={"Allow": allowed})
    detail = {
        400: "The body can't be read.",
        404: "There is nothing at this path.",
        405: "The path does not know this method.",
    }.get(error.status_code, str(error.detail))
    code = _CODES.get(error.status_code, "refused")
    body = problem(error.status_code, code=code, detail=detail, request_id=request_id)
    headers = [(k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items()]
    return ErrorAnswer(error.status_code, body, headers)


def _from_validation(found: Sequence[Any]) -> DomainError:
    """Malformed for a path or query value or an unparsable body, else Invalid with every place."""
    for item in found:
        place = str(item["loc"][0])
        if place != "body":
            name = ".".join(str(part) for part in item["loc"][1:])
            return Malformed(f"The {place} value {name} is not valid: {_said(item)}.")
        if item["type"] in _UNPARSABLE:
            return Malformed("The body is not valid JSON.")
    errors = [
        {"pointer": pointer_of(item["loc"][1:]), "code": item["type"], "detail": _said(item)}
        for item in found[:100]
    ]
    first = errors[0]
    place = f" at {first['pointer']}" if first["pointer"] else ""
    return Invalid(f"The body is not valid{place}: {first['detail']}.", errors=errors)


def _said(item: Any) -> str:
    """The reason in our words: pydantic puts its own before what a validator says."""
    return str(item["msg"]).removeprefix("Value error, ")


def pointer_of(parts: Sequence[int | str]) -> str:
    """A JSON pointer (RFC 6901, section 3)."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)
