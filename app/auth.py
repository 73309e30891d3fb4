"""Every request is asked for its key before anything of it is read."""

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import replace

import structlog
from fastapi import Depends, Request
from redis import Redis, RedisError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

from app.audit import address_of
from app.callers import ANYBODY, Caller, Scope
from app.errors import Problem, problem_response
from app.keys import TOKEN, Key, KeyStore, form_fault, now_ms, sha256_of
from app.limits import Buckets, Standing
from app.security import READING
from workers.settings import Settings

log = structlog.get_logger()

#: Answered without a key: whether the service lives, and how to talk to it.
OPEN = frozenset({"/livez", "/readyz", "/openapi.json", "/problems"})
OPEN_BELOW = ("/problems/",)
#: Who asks there: nobody, who sees no record.
STRANGER = Caller("", frozenset())
#: Sorted set in Redis of the moments at which keys were used last, in milliseconds since 1970.
USED = "ccd:keys:used"
#: The last use of a key is written down at most this often, in seconds.
USE_SECONDS = 60.0


class Authenticate:
    """Gives each request its caller, or refuses it. Outside of all that reads a body.

    Args:
        app: what answers.
        keys: None where the service asks for none.
        settings: tell how many calls are taken.
    """

    def __init__(self, app: ASGIApp, keys: KeyStore | None, settings: Settings) -> None:
        self._app, self._keys = app, keys
        self._calls = _calls(settings)
        self._guesses = Guesses(settings.rate_failures) if settings.rate_failures else None
        self._noted: dict[str, float] = {}

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told: dict[str, str] = {}
        try:
            caller = scope["state"]["caller"] = await self._caller(scope)
            if not is_open(scope["path"]):
                told = self._count(caller, scope)
                check_scope(caller, _wanted(scope["method"]))
        except Problem as problem:
            problem.headers.update(told)
            answer = problem_response(problem, scope["state"]["request_id"])
            await answer(scope, receive, send)
            return
        with structlog.contextvars.bound_contextvars(key=caller.key_id):
            await self._app(scope, receive, _telling(send, told) if told else send)

    def _count(self, caller: Caller, scope: ASGIScope) -> dict[str, str]:
        """What the answer tells of how many calls are left; nothing where there is no limit.

        Raises:
            Problem: `rate_limited`.
        """
        if self._calls is None:
            return {}
        standing = self._calls.take(caller.key_id or address_of(scope))
        told = self._calls.headers(standing)
        if not standing.is_allowed:
            raise too_many("the key has made more calls than it may", standing, told)
        return told

    async def _caller(self, scope: ASGIScope) -> Caller:
        if self._keys is None:
            return ANYBODY
        if is_open(scope["path"]):
            return STRANGER
        if self._guesses is None:
            caller = await _opened(self._keys, scope)
        else:
            caller = await self._guesses.checked(self._keys, scope)
        self._note_use(str(caller.key_id), scope["app"])
        return caller

    def _note_use(self, id: str, app: object) -> None:
        """In Redis, now and then; nobody waits for it."""
        now = time.monotonic()
        if now - self._noted.get(id, -USE_SECONDS) < USE_SECONDS:
            return
        self._noted[id] = now
        redis = app.state.services.store.redis  # type: ignore[attr-defined]
        asyncio.get_running_loop().run_in_executor(None, _write_use, redis, id)


def is_open(path: str) -> bool:
    """Whether a path is answered without a key."""
    return path in OPEN or path.startswith(OPEN_BELOW)


def check_scope(caller: Caller, wanted: Scope) -> None:
    """Refuse a caller whose key may not do that.

    Raises:
        Problem: `scope_missing`.
    """
    if not caller.may(wanted):
        has = ", ".join(caller.scopes) or "none"
        raise Problem(
            "scope_missing",
            f"this needs a key with the scope {wanted}; the key {caller.key_id} has {has}",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{wanted}"'},
        )


async def _check_admin(request: Request) -> None:
    check_scope(request.state.caller, Scope.ADMIN)


#: What the routes are marked with that are about the service and not about a project.
ADMIN_ONLY = Depends(_check_admin)


def last_uses(redis: Redis, keys: list[Key]) -> dict[str, int]:
    """Key -> when it was used last, to the minute; without those that nobody knows it of."""
    if not keys:
        return {}
    with suppress(RedisError):
        found = redis.zmscore(USED, [key.id for key in keys])
        return {key.id: int(at) for key, at in zip(keys, found, strict=True) if at is not None}
    return {}


def _wanted(method: str) -> Scope:
    return Scope.READ if method in READING else Scope.WRITE


def _token(headers: Headers) -> str:
    """What the header has behind `Bearer`."""
    given = headers.getlist("authorization")
    if not given:
        raise unauthorized("send a key: the header `Authorization: Bearer ID.SECRET`")
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise unauthorized("the header Authorization must be `Bearer ID.SECRET`, and stand once")
    return token.strip()


class Guesses:
    """How often an address may be wrong about a key. `rate` is a minute's."""

    def __init__(self, rate: float) -> None:
        self._failures = Buckets(rate / 60, math.ceil(rate))

    async def checked(self, keys: KeyStore, scope: ASGIScope) -> Caller:
        """Whose key opens: one that is right is never held up by what others are wrong about.

        Raises:
            Problem: `unauthorized`, or `rate_limited`.
        """
        try:
            return await _opened(keys, scope)
        except Problem as problem:
            if problem.code != "unauthorized":
                raise
            standing = self._failures.take(address_of(scope))
            if standing.is_allowed:
                raise
        raise too_many("too many calls with a wrong key came from your address", standing, {})


def too_many(detail: str, standing: Standing, told: dict[str, str]) -> Problem:
    """The problem of a call too many."""
    headers = {**told, "Retry-After": str(standing.retry_seconds)}
    return Problem(
        "rate_limited", f"{detail}; call again in {standing.retry_seconds} s", headers=headers
    )


def _calls(settings: Settings) -> Buckets | None:
    rate = settings.rate_requests
    return Buckets(rate, settings.rate_burst) if rate else None


def _telling(send: Send, told: dict[str, str]) -> Send:
    async def send_telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(told)
        await send(message)

    return send_telling


async def is_in_force(keys: KeyStore, caller: Caller) -> bool:
    """Whether who began something may go on: the secret that he came with still holds."""
    if caller.key_id is None:  # nobody asks for one
        return True
    with suppress(OSError):  # the disk does not answer: nothing is known against it
        key = await keys.fresh(caller.key_id)
        return key is not None and key.holds(caller.secret_sha256, now_ms())
    return True


async def _opened(keys: KeyStore, scope: ASGIScope) -> Caller:
    """Whose key a request comes with."""
    token = _token(Headers(scope=scope))
    parts = TOKEN.fullmatch(token)
    if parts is None:
        raise unauthorized(form_fault(token))
    scope["state"]["claimed_key_id"] = parts[1]
    try:
        key = await keys.fresh(parts[1])
    except OSError as error:
        log.warning("keys.unread", error=str(error))
        raise Problem("service_not_ready", "the keys cannot be read from the disk") from error
    sha256 = sha256_of(parts[2])
    if key is None or not key.holds(sha256, now_ms()):
        raise unauthorized("no key that is in force opens with this secret", error="invalid_token")
    return replace(key.caller, secret_sha256=sha256)


def unauthorized(detail: str, *, error: str | None = None) -> Problem:
    """The problem of a request without a key that holds."""
    told = f', error="{error}"' if error else ""
    headers = {"WWW-Authenticate": f'Bearer realm="ccd"{told}'}
    return Problem("unauthorized", detail, headers=headers)


def _write_use(redis: Redis, id: str) -> None:
    with suppress(RedisError):
        redis.zadd(USED, {id: now_ms()}, gt=True)
