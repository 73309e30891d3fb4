"""What can go wrong, a class for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

#: What helps against the errors that say nothing of it themselves, by their code.
HINTS = {
    "unauthorized": "give a key: Client(key=...) or --key, the variable CCD_API_KEY, "
    "or the credentials file",
    "scope_missing": "use a key with the scope that the call needs",
}


class CcdError(Exception):
    """Everything that this package raises by itself."""


class ServiceUnreachable(CcdError):
    """Nobody answers at the service's address, or the connection broke."""

    def __init__(self, message: str, *, was_sent: bool = True, is_refused: bool = False) -> None:
        super().__init__(message)
        #: Whether nothing listens at the address, or nothing is known of it.
        self.is_refused = is_refused
        #: Whether the request may have been heard.
        self.was_sent = was_sent


class BadSetting(CcdError, ValueError):
    """The client itself was given something that cannot be: an address, a key."""


class UnexpectedAnswer(CcdError):
    """What answered is not the service, or one that this client does not know."""


class WaitTimedOut(CcdError, TimeoutError):
    """The work has not ended within the time given; it goes on."""


class DownloadDamaged(CcdError):
    """The bytes that came are not those of the file."""


class PackageMissing(CcdError, ImportError):
    """A package that only some calls need is not installed."""


class WorkFailed(CcdError):
    """A job, dataset, prediction or export has ended, and not well."""

    def __init__(self, message: str, work: Any) -> None:
        super().__init__(message)
        #: What failed, as the service shows it.
        self.work = work


@dataclass(frozen=True)
class FieldError:
    """One wrong field: where it stands in the request, and why it is refused."""

    pointer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.pointer}: {self.reason}" if self.pointer else self.reason


class Problem(CcdError):
    """The service answered with an error; the message is in its words."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        #: The HTTP status.
        self.status = status
        #: Names the kind of error, e.g. `job_not_found`; /v1/problems explains every one.
        self.code = str(body.get("code", ""))
        self.title = str(body.get("title") or f"HTTP status {status}")
        self.detail = str(body.get("detail") or self.title)
        self.errors = _field_errors(body.get("errors"))
        #: The service's log knows the call by it.
        self.request_id = body.get("request_id") or headers.get("X-Request-ID")
        #: Address of a page about this kind of error.
        self.type = str(body.get("type", "about:blank"))
        #: Seconds after which the service wants to be asked again.
        self.retry_after = _seconds(headers.get("Retry-After"))
        #: The next step, where one is known.
        self.hint: str | None = body.get("hint") or HINTS.get(self.code)
        super().__init__("; ".join(map(str, self.errors)) or self.detail)


class BadRequest(Problem):
    """The request cannot be understood or is not allowed here: any 4xx without its own class."""


class Unauthorized(Problem):
    """401: no key was given, or one that does not hold."""


class Forbidden(Problem):
    """403: the key lacks a scope, or a path may not be read."""


class NotFound(Problem):
    """404: there is nothing of this name, or it belongs to somebody else."""


class Conflict(Problem):
    """409: not in the present state, e.g. a job that has ended already."""


class Gone(Problem):
    """410: it was there and was deleted."""


class PreconditionFailed(Problem):
    """412: somebody else changed it meanwhile."""


class InvalidRequest(Problem):
    """422: fields are wrong; `errors` tells which and why."""


class TooManyRequests(Problem):
    """429: over a rate limit or a quota."""


class ServerFault(Problem):
    """5xx: a fault of the service."""


class Unavailable(ServerFault):
    """503: the service cannot work just now."""


class StorageFull(ServerFault):
    """507: the service's disk has no room."""


STATUSES: dict[int, type[Problem]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    422: InvalidRequest,
    429: TooManyRequests,
    503: Unavailable,
    507: StorageFull,
}


def problem_of(response: httpx.Response) -> Problem:
    """The error that an answer is; its body has been read."""
    try:
        body = response.json()
    except ValueError:  # a proxy's page, or nothing at all
        body = {}
    status = response.status_code
    usual = ServerFault if status >= httpx.codes.INTERNAL_SERVER_ERROR else BadRequest
    kind = STATUSES.get(status, usual)
    return kind(status, body if isinstance(body, dict) else {}, response.headers)


def _field_errors(listed: object) -> list[FieldError]:
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    return [FieldError(str(row.get("pointer", "")), str(row.get("reason", ""))) for row in rows]


def _seconds(text: str | None) -> float | None:
    """Of a Retry-After; a date is left to the usual pauses."""
    return float(text) if text is not None and text.strip().isdecimal() else None
