"""What a request handler needs: built once in the lifespan, handed out per request."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from app.errors import NOUNS, Problem, shown
from app.hub import Hub
from app.request_times import RequestTimes
from workers.files import DataFolder
from workers.jobs import Kind, Lane, Mark, Record, new_id
from workers.settings import SUBMITTER_PATTERN, Settings
from workers.store import RecordNotFound, Store

DEFAULT_PAGE = 100
MAX_PAGE = 1000

_ID = re.compile(r"[a-z]+_[0-9A-Za-z-]{1,64}")
_KINDS = {
    "ds": Kind.DATASET,
    "job": Kind.JOB,
    "pred": Kind.PREDICTION,
    "eval": Kind.EVALUATION,
    "exp": Kind.EXPORT,
}


@dataclass(frozen=True)
class Services:
    """Everything behind the routes."""

    settings: Settings
    store: Store
    data: DataFolder
    ring: Callable[[Lane], None]
    times: RequestTimes
    hub: Hub
    #: The key of the request, where it has one.
    mark: Mark | None = None

    def new_id(self, prefix: str) -> str:
        """Of a new record: a request that is sent again with its key gets the same ids."""
        return f"{prefix}_{self.mark.stem}" if self.mark else new_id(prefix)

    def record(self, id: str, prefix: str) -> Record:
        """The record of this id and kind.

        Raises:
            Problem: `..._not_found`.
        """
        try:
            if _ID.fullmatch(id) and id.startswith(f"{prefix}_"):
                record = self.store.get(id)
                if record.kind is _KINDS[prefix]:
                    return record
        except RecordNotFound:
            pass
        raise not_found(id, prefix)


def not_found(id: str, prefix: str) -> Problem:
    """The problem of an id that names nothing."""
    noun = NOUNS[prefix]
    return Problem(f"{noun}_not_found", f"there is no {noun} {shown(id)}")


async def _services(request: Request) -> Services:  # a plain function would need a thread
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most rows of the answer.")]
AtVersion = Annotated[
    int | None,
    Query(ge=1, description="Labels as this version of the thresholds has them; else the latest."),
]
Submitter = Annotated[
    str,
    Header(
        alias="X-Submitter",
        pattern=SUBMITTER_PATTERN,
        description="Whose share of the workers this takes. A hint that is taken on trust: the "
        "service has no keys yet.",
    ),
]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of a page before.")]
