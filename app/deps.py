"""What a request handler needs: built once in the lifespan, handed out per request."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Header, Query, Request

from app.auth import is_in_force
from app.callers import ANYBODY, Caller
from app.errors import NOUNS, Problem, shown
from app.event_stream import OpenStreams
from app.hub import Hub
from app.keys import KeyStore
from app.request_times import RequestTimes
from workers.files import DataFolder
from workers.jobs import NOBODY, Kind, Lane, Mark, Record, new_id
from workers.settings import SUBMITTER_PATTERN, Settings
from workers.store import QuotaExceeded, RecordNotFound, Store

#: Calls at once that look through all images of a job, or all files of a folder; and as many
#: that remove folders.
SLOW_CALLS = 4
DEFAULT_PAGE = 100
MAX_PAGE = 1000
#: Pages of the store that one page of an answer may look through for what it wants.
MAX_SCANS = 50

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
    """Everything behind the routes, for one caller: what is another project's is not there."""

    settings: Settings
    store: Store
    data: DataFolder
    ring: Callable[[Lane], None]
    times: RequestTimes
    hub: Hub
    keys: KeyStore
    streams: OpenStreams
    caller: Caller = ANYBODY
    #: The key of the request, where it has one.
    mark: Mark | None = None
    #: Threads for what may take seconds: the others are left to calls that are quick.
    slow: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(SLOW_CALLS))
    #: The same for deletions, each of which removes files for as long as that takes.
    removals: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(SLOW_CALLS))

    async def may_go_on(self) -> bool:
        """Whether the caller may still be told what he asked for: asked by answers that last."""
        return await is_in_force(self.keys, self.caller)

    @property
    def quotas(self) -> dict[str, int]:
        """What a project may have; 0 where there is no limit."""
        settings = self.settings
        return {
            "jobs": settings.quota_jobs,
            "images": settings.quota_images,
            "bytes": settings.quota_bytes,
        }

    def check_quota(self, kind: Kind, *, more_bytes: int = 0) -> None:
        """Refuse early what would be refused when it has come; that is exact, this is not.

        Raises:
            QuotaExceeded: the caller's project has used what it may.
        """
        is_job = kind is Kind.JOB
        more = {"jobs": 1} if is_job else {"images": 1, "bytes": more_bytes}
        limits = {name: self.quotas[name] for name in more if self.quotas[name]}
        if not limits:
            return
        used = self.store.usage(self.caller.project)
        for name, limit in limits.items():
            if used[name] + more[name] > limit:
                raise QuotaExceeded(name, limit, used[name])

    def new_id(self, prefix: str) -> str:
        """Of a new record: a request that is sent again with its key gets the same ids."""
        return f"{prefix}_{self.mark.stem}" if self.mark else new_id(prefix)

    def record(self, id: str, prefix: str) -> Record:
        """The record of this id and kind.

        Raises:
            Problem: `..._not_found`, also where it is another project's.
        """
        try:
            if _ID.fullmatch(id) and id.startswith(f"{prefix}_"):
                record = self.store.get(id)
                if record.kind is _KINDS[prefix] and record.project == self.caller.project:
                    return record
        except RecordNotFound:
            pass
        raise not_found(id, prefix)

    def page(
        self,
        kind: Kind,
        *,
        limit: int,
        cursor: str | None,
        keep: Callable[[Record], bool] = lambda _: True,
    ) -> tuple[list[Record], str | None]:
        """The caller's records that `keep` wants, newest first, and the cursor of the next page.

        A page may be short, even empty, and still have a next one: the search has its limit too.
        """
        found: list[Record] = []
        for _ in range(MAX_SCANS):
            records, cursor = self.store.list(
                kind, project=self.caller.project, limit=limit - len(found), cursor=cursor
            )
            found += filter(keep, records)
            if cursor is None or len(found) == limit:
                break
        return found, cursor


def not_found(id: str, prefix: str) -> Problem:
    """The problem of an id that names nothing."""
    noun = NOUNS[prefix]
    return Problem(f"{noun}_not_found", f"there is no {noun} {shown(id)}")


async def _services(request: Request) -> Services:  # a plain function would need a thread
    services: Services = request.app.state.services
    return replace(services, caller=request.state.caller)


async def _submitter(
    request: Request,
    submitter: Annotated[
        str,
        Header(
            alias="X-Submitter",
            pattern=SUBMITTER_PATTERN,
            description="Whose share of the workers this takes, where the service asks for no "
            "keys. With keys it is the share of the key's project, whatever stands here.",
        ),
    ] = NOBODY,
) -> str:
    caller: Caller = request.state.caller
    return submitter if caller.key_id is None else caller.project


ServicesDep = Annotated[Services, Depends(_services)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most rows of the answer.")]
RowLimit = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_PAGE,
        description=f"Most rows; without it a page has {DEFAULT_PAGE}, a stream all there are.",
    ),
]
AtVersion = Annotated[
    int | None,
    Query(ge=1, description="Labels as this version of the thresholds has them; else the latest."),
]
Submitter = Annotated[str, Depends(_submitter)]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of a page before.")]
