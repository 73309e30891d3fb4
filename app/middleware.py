"""What wraps every request: its id, its line in the log, the last answer, the body's cap."""

import re
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Problem, problem_response

log = structlog.get_logger()

#: A JSON body may have this many bytes.
MAX_BODY_BYTES = 1 << 20
#: Other methods are one to the log and to the metrics: a client may send any word.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: An id that a client sends is taken over if it looks like this.
CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Gives every request an id, and an error that nobody caught an answer.

    Outside of all that may fail, so that the answer to an unknown error has its id too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("request.failed")
                if started:
                    raise  # the client sees a broken answer, as it must
                problem = Problem("internal_error", f"the service's log knows it as {request_id}")
                await problem_response(problem, request_id)(scope, receive, send_with_id)


class AccessLog:
    """Writes a line of the log for every request, its route named by the template.

    Args:
        app: what answers.
        observe: told method, route, status, and seconds to the end of the answer.
    """

    def __init__(self, app: ASGIApp, observe: Callable[[str, str, int, float], None]) -> None:
        self._app, self._observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500  # what an error that nobody caught is answered with

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            seconds = round(time.perf_counter() - started, 6)
            method, route = _method(scope), route_of(scope)
            self._observe(method, route, status, seconds)
            log.info("request.answered", method=method, route=route, status=status, seconds=seconds)


class BodyCap:
    """Refuses a body over the cap while it is read: declared or counted, chunked or not.

    The cap is `MAX_BODY_BYTES` unless the route raises it with `raise_body_cap`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["body_cap"] = MAX_BODY_BYTES
        declared = declared_length(scope)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            if declared > state["body_cap"]:
                raise _too_large(state["body_cap"])
            message = await receive()
            received += len(message.get("body", b""))
            if received > state["body_cap"]:
                raise _too_large(state["body_cap"])
            return message

        await self._app(scope, receive_counted, send)


def raise_body_cap(scope: Scope, max_bytes: int) -> None:
    """Allow the body of this request `max_bytes`; call it before the body is read.

    Raises:
        HTTPException: it says that it has more.
    """
    scope["state"]["body_cap"] = max_bytes
    if declared_length(scope) > max_bytes:
        raise _too_large(max_bytes)


def declared_length(scope: Scope) -> int:
    """The bytes that the body of this request is said to have, 0 where nothing is said."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() else 0


def route_of(scope: Scope) -> str:
    """The template of the route that took the request, `other` where none did."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    # /openapi.json is no route of FastAPI's own kind; it has no parts that vary.
    return str(scope["path"]) if "endpoint" in scope and not scope["path_params"] else "other"


def current_request_id() -> str | None:
    """The id of the request at work, None outside of one."""
    return structlog.contextvars.get_contextvars().get("request_id")


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in METHODS else "other"


def _too_large(cap: int) -> HTTPException:
    # FastAPI lets its own exceptions through where it reads a body, and hides all others.
    return HTTPException(413, f"the body has more than the {cap:,} bytes allowed")


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if CLIENT_REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"
