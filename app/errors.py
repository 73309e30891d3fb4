"""Every error the API answers: a code of one table, one body (problem details, RFC 9457)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import redis
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from app.problem_kinds import KINDS
from models.config import ConfigError
from workers.archives import ArchiveRejected, UnsupportedArchive
from workers.cursors import BadCursor
from workers.deletion import StillUsed
from workers.eviction import UnsafeRedis
from workers.files import DiskFull
from workers.paths import PathNotAllowed
from workers.store import DatasetInUse, QuotaExceeded, RecordNotFound
from workers.thresholds import VersionDamaged

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
#: Seconds after which a client may try again when Redis does not answer.
RETRY_AFTER_SECONDS = 5
#: The same where a quota is used up: something has to end or be deleted first.
QUOTA_RETRY_SECONDS = 60
#: A wrong value is repeated in the answer up to this many characters.
MAX_SHOWN_CHARACTERS = 80
#: Type of the pydantic errors that `refused` of app/text.py makes: their message is whole.
REFUSED = "refused"
#: The detail of a problem that whoever runs the service has to end.
UNWRITTEN = (
    "the job store cannot write its own disk, so it takes nothing new; what it has stays and can "
    "be read. Make room on its disk or give it back its folder (`ccd doctor` names what failed), "
    "then try again"
)
SOURCE_FORMS = {("source", kind) for kind in ("folder", "folders", "list")}
#: What the prefix of an id stands for.
NOUNS = {
    "ds": "dataset",
    "job": "job",
    "stu": "student",
    "pred": "prediction",
    "eval": "evaluation",
    "exp": "export",
    "key": "key",
}


class FieldError(BaseModel):
    """One wrong field: where it stands in the body, and why it is refused."""

    pointer: str
    reason: str


class ProblemBody(BaseModel):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError] | None = None


#: What the framework raises by itself, by status.
FRAMEWORK_CODES = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class Problem(Exception):
    """An answer that is an error: a code of `KINDS` and what happened this time."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors = code, detail, list(errors)
        self.headers = dict(headers or {})


def invalid(pointer: str, reason: str) -> Problem:
    """The problem of one wrong field."""
    return invalid_fields([FieldError(pointer=pointer, reason=reason)])


def invalid_fields(errors: Sequence[FieldError]) -> Problem:
    """The problem of wrong fields, at least one."""
    return Problem("invalid_request", _summary(errors), errors=errors)


def shown(value: object) -> str:
    """A wrong value as an error message repeats it: short, printable, valid UTF-8."""
    text = repr(value).encode("utf-8", "backslashreplace").decode()
    if len(text) > MAX_SHOWN_CHARACTERS:
        return text[: MAX_SHOWN_CHARACTERS - 3] + "..."
    return text


def problem_response(problem: Problem, request_id: str, *, status: int | None = None) -> Response:
    """`problem` as an answer; `status` overrides the one of its code."""
    kind = KINDS[problem.code]
    body = ProblemBody(
        type=f"/problems/{problem.code}",
        title=kind.title,
        status=status or kind.status,
        detail=_printable(problem.detail),
        code=problem.code,
        request_id=request_id,
        errors=[
            FieldError(pointer=_printable(e.pointer), reason=_printable(e.reason))
            for e in problem.errors
        ]
        or None,
    )
    return Response(
        body.model_dump_json(exclude_none=True),
        status_code=body.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type=MEDIA_TYPE,
    )


def request_id_of(request: Request) -> str:
    """The id that the middleware gave this request."""
    return str(request.state.request_id)


def pointer_of(location: Sequence[str | int]) -> str:
    """JSON pointer of a place in the body; header, query and path fields keep their kind."""
    # The kind of a source names one of several forms, and no place in the body.
    found = [
        part
        for before, part in zip([None, *location], location, strict=False)
        if (before, part) not in SOURCE_FORMS
    ]
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in found]
    if parts and parts[0] == "body":
        parts = parts[1:]
    return "".join(f"/{part}" for part in parts)


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    for kind, to_problem in DOMAIN.items():
        app.add_exception_handler(kind, _handler(to_problem))
    app.add_exception_handler(HTTPException, _framework_error)


def _summary(errors: Sequence[FieldError]) -> str:
    """The first wrong field, and how many more there are."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.pointer or 'the body'}: {first.reason}{more}"


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _handler(
    to_problem: Callable[[Any], Problem],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return problem_response(to_problem(error), request_id_of(request))

    return answer


async def _framework_error(request: Request, error: Exception) -> Response:
    """What Starlette or FastAPI raised by itself: no route, wrong method, unreadable body."""
    assert isinstance(error, HTTPException)
    code = FRAMEWORK_CODES.get(error.status_code, "request_refused")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods_of(request)))
    problem = Problem(code, str(error.detail), headers=headers)
    return problem_response(problem, request_id_of(request), status=error.status_code)


def _methods_of(request: Request) -> set[str]:
    """The methods of this address: it may have several routes, and the framework looks at one."""
    return {
        method
        for route in iter_route_contexts(request.app.routes)
        if compile_path(route.path or "")[0].match(request.url.path)
        for method in route.methods or ()
    }


def _wrong_fields(error: RequestValidationError | ValidationError) -> Problem:
    if any(isinstance(found.get("input"), bytes) for found in error.errors()):
        return Problem("unsupported_media_type", "send application/json")
    errors = [_field_error(found) for found in error.errors()]
    if any(found["type"] == "json_invalid" for found in error.errors()):
        return Problem("malformed_request", errors[0].reason)
    return invalid_fields(errors)


def _field_error(found: Mapping[str, Any]) -> FieldError:
    reason = str(found["msg"])
    if found["type"] == "json_invalid":
        reason = f"the body is not JSON: {found.get('ctx', {}).get('error', reason)}"
    elif found["type"] == "extra_forbidden":
        reason = "is not a field of this request"
    elif found["type"].startswith("union_tag"):
        kind, allowed = found["ctx"]["discriminator"].strip("'"), found["ctx"].get("expected_tags")
        given = found["ctx"].get("tag")
        reason = f"must be one of {allowed}, is {shown(given)}" if given else "is required"
        return FieldError(pointer=pointer_of([*found["loc"], kind]), reason=reason)
    elif "input" in found and found["type"] not in ("missing", REFUSED):
        reason = f"{reason}, is {shown(found['input'])}"
    return FieldError(pointer=pointer_of(found["loc"]), reason=reason)


def _wrong_config(error: ConfigError) -> Problem:
    pointer = "/preset" if error.field == "preset" else f"/config/{error.field}"
    return invalid(pointer, str(error))


def _no_record(error: RecordNotFound) -> Problem:
    noun = NOUNS.get(error.id.partition("_")[0], "dataset")
    return Problem(f"{noun}_not_found", f"there is no {noun} {shown(error.id)}")


def _quota_exceeded(error: QuotaExceeded) -> Problem:
    return Problem(
        "quota_exceeded",
        f"your project has {error.used:,} of {error.limit:,} {error.name} "
        f"(CCD_QUOTA_{error.name.upper()}), and this would be more",
        headers={"Retry-After": str(QUOTA_RETRY_SECONDS)},
    )


def _store_silent(
    error: redis.RedisError,
    detail: str = "the job store does not answer; nothing is lost, try again",
) -> Problem:
    log.warning("redis.unavailable", error=str(error))
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Problem("redis_unavailable", detail, headers=headers)


def _store_unsafe(error: UnsafeRedis) -> Problem:
    log.error("redis.unsafe", error=str(error))
    return Problem("redis_unsafe", str(error), headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _store_refused(error: redis.ResponseError) -> Problem:
    """Redis takes no writes while it cannot write its disk; any other refusal is our mistake."""
    if not str(error).startswith("MISCONF"):
        raise error
    return _store_silent(error, UNWRITTEN)


def _as(code: str) -> Callable[[Exception], Problem]:
    return lambda error: Problem(code, str(error))


#: Errors that a request has coming: sent again, it meets them again.
REFUSALS = (
    *(ArchiveRejected, ConfigError, DatasetInUse, PathNotAllowed, Problem, QuotaExceeded),
    *(RecordNotFound, RequestValidationError, UnsupportedArchive, ValidationError),
)

#: What each error of the lower halves becomes.
DOMAIN: dict[type[Exception], Callable[[Any], Problem]] = {
    ArchiveRejected: _as("archive_rejected"),
    BadCursor: lambda error: invalid("/query/cursor", str(error)),
    ConfigError: _wrong_config,
    DatasetInUse: _as("dataset_in_use"),
    StillUsed: lambda error: Problem(f"{error.kind}_in_use", str(error)),
    DiskFull: _as("disk_full"),
    PathNotAllowed: _as("path_not_allowed"),
    Problem: lambda problem: problem,
    QuotaExceeded: _quota_exceeded,
    RecordNotFound: _no_record,
    RequestValidationError: _wrong_fields,
    UnsupportedArchive: _as("unsupported_archive"),
    ValidationError: _wrong_fields,
    VersionDamaged: _as("artifact_corrupt"),
    # Redis is away, stalls, or has no memory left for a write.
    redis.ConnectionError: _store_silent,
    redis.TimeoutError: _store_silent,
    redis.exceptions.OutOfMemoryError: _store_silent,
    redis.ResponseError: _store_refused,
    redis.ReadOnlyError: _store_silent,
    UnsafeRedis: _store_unsafe,
}
