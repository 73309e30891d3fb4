"""Every error the API answers: one table of codes, one body (problem details, RFC 9457)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

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
#: Type of the pydantic errors that app/schemas.py raises: their message is whole.
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


@dataclass(frozen=True)
class ProblemKind:
    """What one code means."""

    status: int
    title: str
    explanation: str


KINDS: dict[str, ProblemKind] = {
    "archive_rejected": ProblemKind(
        422,
        "The archive was rejected",
        "A member of the zip file has a name that leads outside, is a link, is encrypted, or the "
        "archive is over the limits on size or count. The detail names the member.",
    ),
    "artifact_corrupt": ProblemKind(
        500,
        "A stored file is damaged",
        "The file no longer has the checksum it was written with, so it is not served. "
        "Run the job again; where it is a version of thresholds, put another one in force.",
    ),
    "artifact_not_found": ProblemKind(
        404,
        "No such artifact",
        "The job has no file of this name, or not yet. GET .../artifacts lists what is there.",
    ),
    "bad_host": ProblemKind(
        400,
        "The Host header is not this service's",
        "It must name one host. A service that asks for no keys answers to `localhost` and to "
        "loopback addresses alone, so that no page of another host can speak to it.",
    ),
    "bad_range": ProblemKind(
        400,
        "The Range header cannot be read",
        "Write it as `bytes=first-last`, `bytes=first-` or `bytes=-count`.",
    ),
    "body_too_large": ProblemKind(
        413,
        "The request is too large",
        "A JSON body may have 1 MiB; an upload may have what the setting CCD_MAX_UPLOAD_BYTES "
        "allows.",
    ),
    "cam_failed": ProblemKind(
        500,
        "The map could not be made",
        "The worker that was to make it failed. The detail says why; after a minute it is tried "
        "again.",
    ),
    "dataset_failed": ProblemKind(
        409,
        "The dataset could not be registered",
        "No job or prediction can run on a dataset whose registration failed. Its `error` says "
        "why; make a new dataset.",
    ),
    "dataset_deleted": ProblemKind(
        410,
        "The dataset was deleted",
        "The rows of this answer belong to a dataset that has been deleted since.",
    ),
    "dataset_in_use": ProblemKind(
        409,
        "The dataset is in use",
        "A job or prediction that has not finished reads this dataset. Wait for it or cancel it.",
    ),
    "dataset_not_found": ProblemKind(
        404, "No such dataset", "There is no dataset with this id, or it was deleted."
    ),
    "disk_full": ProblemKind(
        507,
        "The disk is full",
        "The data folder has no room for this. Nothing was kept of the request; free some space "
        "and send it again.",
    ),
    "foreign_page": ProblemKind(
        403,
        "A page of another address sends this",
        "A service that asks for no keys takes changes from programs and its own pages alone, and "
        "the browser's Sec-Fetch-Site or Origin names another. Use a program, or keys.",
    ),
    "idempotency_in_flight": ProblemKind(
        409,
        "The same request is being answered",
        "A request with this Idempotency-Key has not been answered yet. Send it again after "
        "Retry-After seconds: it is answered as the first one then.",
    ),
    "idempotency_key_reused": ProblemKind(
        422,
        "The key belongs to another request",
        "This Idempotency-Key was sent in the last 24 hours with another body or to another "
        "address. Send that request unchanged, or give this one a key of its own.",
    ),
    "head_too_large": ProblemKind(
        431,
        "The head of the request is too large",
        "Target and headers together may have 64 KiB. Send less of them; what is long belongs "
        "into the body.",
    ),
    "image_not_found": ProblemKind(
        404,
        "No such image",
        "The job has no image with this id. GET .../labels lists the ids of its images.",
    ),
    "evaluation_running": ProblemKind(
        409, "The evaluation has not ended", "Wait until it has ended; then it can be deleted."
    ),
    "evaluation_not_found": ProblemKind(
        404, "No such evaluation", "There is no evaluation with this id."
    ),
    "export_not_found": ProblemKind(
        404, "No such export", "There is no export with this id, or it was deleted."
    ),
    "export_running": ProblemKind(
        409, "The export has not ended", "Wait until it has ended; then it can be deleted."
    ),
    "input_changed": ProblemKind(
        409,
        "The image is not the one that was registered",
        "Its file was changed, moved or deleted since. Put it back, or register the images again.",
    ),
    "internal_error": ProblemKind(
        500,
        "Something went wrong inside",
        "A fault of the service. Its log has the details under the request id.",
    ),
    "invalid_request": ProblemKind(
        422,
        "The request has wrong fields",
        "Each entry of `errors` points at one field and says what is wrong and what is allowed.",
    ),
    "job_in_use": ProblemKind(
        409,
        "Something of the job has not ended",
        "Evaluations, predictions or exports of it go on; a job is deleted with what was made of "
        "it. Wait until they have ended.",
    ),
    "job_not_retryable": ProblemKind(
        409,
        "The job is not to be tried again",
        "Only a job that failed or was cancelled is. Start a new one with POST /v1/jobs.",
    ),
    "job_running": ProblemKind(
        409, "The job has not ended", "Cancel it or wait until it has ended; then delete it."
    ),
    "job_finished": ProblemKind(409, "The job has finished", "A finished job cannot be cancelled."),
    "job_not_found": ProblemKind(404, "No such job", "There is no job with this id."),
    "malformed_request": ProblemKind(
        400,
        "The request cannot be read",
        "The body breaks off or breaks the rules of its media type.",
    ),
    "method_not_allowed": ProblemKind(
        405, "Not a method of this address", "The header Allow lists the methods there are."
    ),
    "not_found": ProblemKind(404, "No such address", "See /openapi.json for all calls."),
    "not_ready": ProblemKind(
        409,
        "Not there yet",
        "What was asked for is made by a phase that has not finished. The detail names it.",
    ),
    "path_not_allowed": ProblemKind(
        403,
        "The path is not allowed",
        "The path is outside the folders of CCD_ALLOWED_ROOTS, leads out of them, does not exist "
        "or cannot be read. Which of these is not told.",
    ),
    "precondition_failed": ProblemKind(
        412,
        "It is another version by now",
        "If-Match names another version than the present one, whose ETag the header tells. Read "
        "it again, and repeat the call if it is still what you want.",
    ),
    "prediction_running": ProblemKind(
        409, "The prediction has not ended", "Wait until it has ended; then it can be deleted."
    ),
    "prediction_in_use": ProblemKind(
        409,
        "Something of the prediction has not ended",
        "Images that were uploaded for it are still being registered; they are deleted with it. "
        "Wait until that has ended, or cancel it.",
    ),
    "prediction_not_found": ProblemKind(
        404, "No such prediction", "There is no prediction with this id."
    ),
    "range_not_satisfiable": ProblemKind(
        416, "The range is outside the file", "The header Content-Range tells the file's size."
    ),
    "redis_unavailable": ProblemKind(
        503,
        "The job store does not answer",
        "Redis is down, restarting or out of memory, or it cannot write its disk, which the detail "
        "then says. Nothing is lost; try again.",
    ),
    "redis_unsafe": ProblemKind(
        503,
        "The job store may lose records",
        "Redis has an eviction policy other than noeviction, under which it deletes records of "
        "jobs when its memory is full. Nothing is accepted until that is changed.",
    ),
    "rate_limited": ProblemKind(
        429,
        "Too many calls",
        "The key has made more calls than it may (CCD_RATE_REQUESTS, CCD_RATE_BURST), or the "
        "address too many with a wrong key (CCD_RATE_FAILURES), or the key has too many event "
        "streams open (CCD_MAX_STREAMS_PER_KEY). The header Retry-After says when to call again.",
    ),
    "quota_exceeded": ProblemKind(
        429,
        "The project has used what it may",
        "The detail names the quota: CCD_QUOTA_BYTES, CCD_QUOTA_IMAGES or CCD_QUOTA_JOBS. Delete "
        "what is no longer needed, or let jobs finish. GET /v1/usage tells what is used.",
    ),
    "scope_missing": ProblemKind(
        403,
        "The key may not do that",
        "Reading needs the scope read, everything else write, what concerns the service itself "
        "admin. Use another key, or have one made with that scope.",
    ),
    "unauthorized": ProblemKind(
        401,
        "No key, or none that holds",
        "Send the header `Authorization: Bearer ID.SECRET` with a key that was not revoked and "
        "whose time is not over. `ccd serve` shows the first one; `ccd keys create` makes more.",
    ),
    "key_not_found": ProblemKind(404, "No such key", "There is no key with this id."),
    "key_ended": ProblemKind(
        409,
        "The key has ended",
        "It was revoked or its time is over: it gets no new secret. Make another key.",
    ),
    "request_refused": ProblemKind(
        400, "The request was refused", "The status and the detail say why."
    ),
    "service_not_ready": ProblemKind(
        503,
        "The service is not ready",
        "Redis does not answer, or the data folder cannot be written. The detail says which.",
    ),
    "student_not_found": ProblemKind(
        404,
        "No such student",
        "There is no student with this id, or its job has not succeeded.",
    ),
    "thresholds_changed": ProblemKind(
        412,
        "The thresholds have changed",
        "If-Match names another version than the one in force: somebody was faster. The header "
        "ETag tells the present version; read it, and repeat the change on it.",
    ),
    "too_many_cams": ProblemKind(
        503,
        "Too many maps wait",
        "Maps are made one after the other, and only so many may wait. Try again a little later; "
        "if it stays so, no worker of the lane io runs.",
    ),
    "unsupported_archive": ProblemKind(415, "Not a zip file", "Only zip archives are taken."),
    "unsupported_media_type": ProblemKind(
        415,
        "Not a media type of this call",
        "Send application/json, or multipart/form-data where files are uploaded.",
    ),
    "upload_stalled": ProblemKind(
        408, "The upload stalled", "No byte of the body came for too long. Send it again."
    ),
}

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
