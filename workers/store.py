"""The job store: records of work in Redis; every change of state is one atomic Lua script."""

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, cast

import redis
import redis.asyncio
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from models.config import METHOD_VERSION
from workers.cursors import read_cursor, write_cursor
from workers.events import Line, RawEntries, happenings, lines_key, read_lines
from workers.eviction import connect_safely
from workers.jobs import (
    DEFAULT_PROJECT,
    NOBODY,
    Claim,
    JobError,
    Kind,
    Lane,
    Phase,
    Priority,
    Record,
    Status,
    split_unit_id,
    unit_id,
)
from workers.lua import constants, read_scripts
from workers.outcomes import Kept, write_ending
from workers.records import read_record, write_phases
from workers.settings import Settings
from workers.signs import Signs, worker_lost
from workers.turns import Queue, read_queue

#: Steps of priority, each of up to 30 days: more would lose milliseconds of age in a score.
MAX_PRIORITY = 100
MAX_PAGE = 1000
#: Where the scripts leave the ids of records whose end is still to be written to disk.
UNKEPT = "ccd:unkept"
#: And those of jobs that have ended whose log is still to be written there.
UNWRITTEN = "ccd:unwritten"

# Spelt here, because inside `Store` the word `list` is its method.
Records = list[Record]
Leases = list[tuple[str, str]]
Lines = list[Line]


class RecordNotFound(Exception):
    """No record has this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no record {id}")
        self.id = id


class IllegalMove(Exception):
    """The record cannot go from its present status to the one asked for."""

    def __init__(self, id: str, status: Status, asked: str) -> None:
        super().__init__(f"{id} is {status}; it cannot become {asked}")
        self.id, self.status, self.asked = id, status, asked


class StaleClaim(Exception):
    """The unit was given to somebody else, or its record has ended."""

    def __init__(self, unit: str) -> None:
        super().__init__(f"the claim on {unit} is no longer in force")
        self.unit = unit


class OutputGoing(Exception):
    """The unit's output is being removed with a deleted record: it has to be made again."""

    def __init__(self, output: str) -> None:
        super().__init__(f"{output} is being removed")


class DatasetInUse(Exception):
    """Unfinished records need the one that is to be deleted."""

    def __init__(self, id: str, users: Sequence[str]) -> None:
        super().__init__(f"{id} is in use by {', '.join(users)}; cancel them or let them finish")
        self.id, self.users = id, tuple(users)


class QuotaExceeded(Exception):
    """The project may have no more of this."""

    def __init__(self, name: str, limit: int, used: int) -> None:
        super().__init__(f"{name}: {used:,} of {limit:,} are used, and this would be too many")
        self.name, self.limit, self.used = name, limit, used


class Renewal(StrEnum):
    OK = "ok"
    #: Renewed, but the record is to be cancelled: stop and call `stopped`.
    CANCEL = "cancel"
    #: The claim is no longer in force: stop and write nothing.
    FENCED = "fenced"


def connect(settings: Settings) -> redis.Redis:
    """A client whose calls fail within 3 s when Redis is away, as the API promises.

    They raise `UnsafeRedis` where Redis may throw records out.
    """
    return redis.Redis.from_url(
        _redis_url(settings),
        decode_responses=True,
        socket_timeout=2,
        socket_connect_timeout=1,
        health_check_interval=10,
        redis_connect_func=connect_safely,
        # A connection that Redis closed is opened again once. A timeout is not tried again:
        # it has used its 2 s.
        retry=Retry(ConstantBackoff(0.1), 1, supported_errors=(redis.ConnectionError,)),
    )


def connect_async(settings: Settings) -> redis.asyncio.Redis:
    """The same for reading: whether Redis is safe only matters to those who write."""
    return redis.asyncio.Redis.from_url(
        _redis_url(settings),
        decode_responses=True,
        socket_timeout=2,
        socket_connect_timeout=1,
        health_check_interval=10,
    )


def _redis_url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise ValueError("CCD_REDIS_URL is not set; name a Redis or use `ccd serve`")
    return settings.redis_url


def open_store(settings: Settings) -> "Store":
    return Store(
        connect(settings),
        lease_seconds=settings.lease_seconds,
        max_attempts=settings.max_attempts,
        backoff_seconds=settings.backoff_seconds,
        ageing_seconds=settings.ageing_seconds,
        shares=settings.shares,
    )


class Store:
    """Records, their units and their claims. Errors of Redis pass through."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        lease_seconds: float = 60,
        max_attempts: int = 3,
        backoff_seconds: Sequence[float] = (30, 300),
        ageing_seconds: float = 24 * 3600,
        shares: Mapping[str, float] | None = None,
        method: int = METHOD_VERSION,
    ) -> None:
        """`client` must decode responses; `backoff_seconds` before attempt 2, 3, ...

        `ageing_seconds` of waiting are worth a step of priority; `shares` are weights of
        submitters, 1 where none is given.
        `method` is the version that new records are for, and the newest that is claimed.
        """
        self.redis = client
        self._max_attempts = max_attempts
        self._constants = constants(
            lease_seconds=lease_seconds,
            max_attempts=max_attempts,
            backoff_seconds=backoff_seconds,
            ageing_seconds=ageing_seconds,
            shares=shares or {},
            method=method,
        )
        self._scripts = {
            name: client.register_script(text) for name, text in read_scripts().items()
        }

    # ------------------------------------------------------------------ records

    def create(
        self,
        kind: Kind,
        id: str,
        *,
        request: Mapping[str, Any],
        phases: Sequence[Phase],
        priority: int = Priority.NORMAL,
        submitter: str = NOBODY,
        project: str = DEFAULT_PROJECT,
        passes: int = 0,
        waits_for: str | None = None,
        keep_seconds: float | None = None,
        request_id: str | None = None,
        quotas: Mapping[str, int] | None = None,
    ) -> Record:
        """Queues the units of the first phase, or waits until `waits_for` has succeeded.

        With `keep_seconds` the record is passing: it is listed until it ends, and forgotten that
        long afterwards. `passes` is how often it goes through the items of `waits_for`, where that
        is known: so long those behind it have to wait.

        Raises:
            RecordNotFound: `waits_for` names no record.
            QuotaExceeded: `project` may have no more: of `jobs`, `images` or `bytes`.
        """
        if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
            raise ValueError(f"priority must lie in [-100, 100], is {priority}")
        fields = self._create(
            *(id, kind, json.dumps(request), write_phases(phases)),
            _asked(
                priority, submitter, project, passes=passes, request_id=request_id, quotas=quotas
            ),
            *(waits_for or "", "" if keep_seconds is None else round(keep_seconds * 1000)),
        )
        if fields is None:
            raise RecordNotFound(waits_for or id)
        return read_record(_pairs(fields))

    def restore(self, kept: Kept) -> Status | None:
        """Puts a record back as the disk has it: its status then, None for one that is there.

        Raises:
            RecordNotFound: it has not ended, and what it waits for is missing.
        """
        answer = self._run(
            "restore",
            *(kept.id, kept.kind, json.dumps(kept.request), write_phases(kept.phases)),
            _asked(
                kept.priority,
                kept.submitter,
                kept.project,
                passes=kept.passes,
                request_id=kept.request_id,
            ),
            *(kept.waits_for or "", kept.created_ms),
            "" if kept.ending is None else write_ending(kept.ending),
            "" if kept.mark is None else json.dumps(vars(kept.mark)),
        )
        if answer == "unmet":
            raise RecordNotFound(str(kept.waits_for))
        return None if answer == "exists" else Status(answer)

    def get(self, id: str) -> Record:
        fields = cast("dict[str, str]", self.redis.hgetall(f"ccd:record:{id}"))
        if not fields:
            raise RecordNotFound(id)
        return read_record(fields)

    def list(
        self,
        kind: Kind,
        *,
        project: str = DEFAULT_PROJECT,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[Records, str | None]:
        """A page of 1 to 1000 of a project's, newest first, and the cursor of the next one.

        None at the end.
        """
        top = f"({read_cursor(cursor)}" if cursor else "+"
        limit = min(limit, MAX_PAGE)
        members = cast(
            "Sequence[str]",
            self.redis.zrevrangebylex(_index(kind, project), top, "-", start=0, num=limit + 1),
        )
        page = members[:limit]
        next_cursor = write_cursor(page[-1]) if len(members) > limit else None
        return self._get_all(member.partition(":")[2] for member in page), next_cursor

    def ids(self, kind: Kind, *, project: str = DEFAULT_PROJECT) -> Sequence[str]:
        """Of all listed records of a kind, oldest first."""
        members = cast("Sequence[str]", self.redis.zrange(_index(kind, project), 0, -1))
        return [member.partition(":")[2] for member in members]

    def count(self, kind: Kind, *, project: str = DEFAULT_PROJECT) -> int:
        """How many records of a kind are listed."""
        return self.redis.zcard(_index(kind, project))

    def usage(self, project: str) -> dict[str, int]:
        """`images` and `bytes` that a project has stored, and its `jobs` that wait or run."""
        images, byte_count, jobs = self._run("usage", project)
        return {"images": images, "bytes": byte_count, "jobs": jobs}

    def projects(self) -> Sequence[str]:
        """All that ever had a record."""
        found = cast("set[str]", self.redis.smembers("ccd:projects"))
        return sorted({DEFAULT_PROJECT, *found})

    def outputs(self, id: str) -> dict[tuple[str, int], str]:
        """(phase, unit) -> name of the folder with its output, for every unit that is done."""
        folders = cast("dict[str, str]", self.redis.hgetall(f"ccd:outputs:{id}"))
        named = ((split_unit_id(f"{id}/{unit}"), folder) for unit, folder in folders.items())
        return {(phase, number): folder for (_, phase, number), folder in named}

    def output(self, id: str, phase: str, unit: int) -> str | None:
        """Name of the folder with the output of one unit; None while it is not done."""
        field = unit_id(id, phase, unit).removeprefix(f"{id}/")
        return cast("str | None", self.redis.hget(f"ccd:outputs:{id}", field))

    def output_names(self, ids: Iterable[str]) -> set[str]:
        """The folders of all their units that are done."""
        pipeline = self.redis.pipeline(transaction=False)
        for id in ids:
            pipeline.hvals(f"ccd:outputs:{id}")
        return {name for names in pipeline.execute() for name in names}

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of which there is a record."""
        asked = [*ids]
        pipeline = self.redis.pipeline(transaction=False)
        for id in asked:
            pipeline.exists(f"ccd:record:{id}")
        return {id for id, is_there in zip(asked, pipeline.execute(), strict=True) if is_there}

    def queue(self, lane: Lane, ids: Sequence[str]) -> Queue:
        """Who waits in a lane, and where these records stand among all that do."""
        return read_queue(ids, self._run("forecast", lane, *ids))

    def cancel(self, id: str) -> Status:
        """Cancelled where nothing runs, otherwise cancelling until the running units stop.

        Raises:
            IllegalMove: the record has ended.
        """
        found = self._run("cancel", id)
        if found is None:
            raise RecordNotFound(id)
        before, after = Status(found[0]), Status(found[1])
        if before.is_final:
            raise IllegalMove(id, before, Status.CANCELLED)
        return after

    def delete(self, *ids: str) -> None:
        """Forgets records that have ended, all or none; their files are the caller's business.

        Raises:
            RecordNotFound: there is none of them.
            DatasetInUse: unfinished records need one.
            IllegalMove: one has not ended.
        """
        found = self._run("delete", *ids)
        if found is None:
            raise RecordNotFound(ids[0])
        if not found:
            return
        id, status, *users = found
        if users:
            raise DatasetInUse(id, sorted(users))
        raise IllegalMove(id, Status(status), "deleted")

    def spent(self, id: str) -> str:
        """JSON: phase -> [milliseconds in work, items, units found done], of phases that ended."""
        return cast("str | None", self.redis.hget(f"ccd:record:{id}", "spent")) or "{}"

    def going(self, outputs: Iterable[str], *, seconds: float | None) -> None:
        """No unit is completed with these that was claimed until now, or in the next `seconds`.

        None takes it back.
        """
        until_ms = "" if seconds is None else round(seconds * 1000)
        self._run("going", until_ms, *outputs)

    def users(self, id: str) -> Sequence[str]:
        """Unfinished records that need it."""
        return sorted(cast("set[str]", self.redis.smembers(f"ccd:users:{id}")))

    # ------------------------------------------------------------------ claims

    def claim(self, lane: Lane, *, worker: str, nonce: str, device: str = "") -> Claim | None:
        """The best waiting unit of the lane. The same nonce gets the same unit again.

        Units of records for a newer version of the method are left to newer workers, and those of
        records whose first result came from another kind of `device` to workers of that kind; a
        worker that names none takes all of them.
        """
        found = self._run("claim", lane, worker, nonce, device)
        if found is None:
            return None
        unit, attempt, fields = found
        _, phase, number = split_unit_id(unit)
        return Claim(
            record=read_record(_pairs(fields)),
            phase=phase,
            unit=number,
            nonce=nonce,
            attempt=attempt,
            lane=lane,
            worker=worker,
        )

    def renew(
        self,
        claim: Claim,
        *,
        done: int,
        total: int = 0,
        note: Mapping[str, Any] | None = None,
        signs: Signs | None = None,
    ) -> Renewal:
        """Prolongs the lease; `done` of `total` items of this unit, and a remark on it.

        `signs` are what is told of the worker should it be lost.

        A total of 0 is unknown: its even share of the phase's `items` is taken, if the plan
        tells them.
        """
        remark = json.dumps(note) if note else ""
        told = signs.to_json() if signs else ""
        return Renewal(self._run("renew", claim.unit_id, claim.nonce, done, total, remark, told))

    def complete(
        self,
        claim: Claim,
        *,
        output: str,
        done: int,
        plan: Sequence[Phase] | None = None,
        facts: Mapping[str, Any] | None = None,
        reused: bool = False,
    ) -> dict[Lane, int]:
        """Records a unit's output folder and opens what comes next.

        `plan` adds phases behind the known ones; `reused` says that the output lay there
        already, so that it does not count towards the rate.

        Returns:
            How many doorbells each lane wants, one a unit that opened.

        Raises:
            OutputGoing: the unit stays claimed; it is to be given back.
        """
        pairs = [
            text for name, value in (facts or {}).items() for text in (name, json.dumps(value))
        ]
        planned = write_phases(plan or ())
        told = json.dumps(happenings(claim, facts or {}))
        found = self._run_claimed(
            "complete", claim, output, done, int(reused), planned, told, *pairs
        )
        if found == "going":
            raise OutputGoing(output)
        rings = json.loads(found)
        return {Lane(lane): count for lane, count in rings.items()}

    def fail(self, claim: Claim, error: JobError) -> Status:
        """Ends the record and takes its other units from their workers."""
        return Status(self._run_claimed("fail", claim, json.dumps(vars(error))))

    def give_back(self, claim: Claim, *, after_seconds: float = 0) -> Status:
        """Puts the unit back into the queue, now or later; the attempt is not counted."""
        return Status(self._run_claimed("give_back", claim, round(after_seconds * 1000)))

    def stopped(self, claim: Claim) -> Status:
        """The unit has stopped because its record is to be cancelled."""
        return self.give_back(claim)

    # ------------------------------------------------------------------ lost work

    def expired(self) -> Leases:
        """(unit id, nonce) of every claim whose lease has ended."""
        found = self._run("expired")
        return list(zip(found[::2], found[1::2], strict=True))

    def requeue(self, unit: str, nonce: str, *, give_up: bool = True) -> Status | None:
        """Takes a unit whose lease has ended from its worker and counts the attempt.

        The record fails with the last attempt, but not if `give_up` is false.

        Returns:
            The record's status afterwards, None where the lease is no longer the expired one.
        """
        signs = cast("str | None", self.redis.hget(f"ccd:unit:{unit}", "signs"))
        error = worker_lost(unit, self._max_attempts, Signs.from_json(signs))
        status = self._run("requeue", unit, nonce, json.dumps(vars(error)), int(give_up))
        return Status(status) if status else None

    def release(self, worker: str) -> int:
        """Ends the leases of a worker that is known to be gone; returns how many."""
        return int(self._run("release", worker))

    def release_all(self) -> int:
        """Ends every lease, where no worker is left; returns how many."""
        return int(self._run("release", ""))

    def waiting(self, lane: Lane) -> int:
        """Units that a claim would find now."""
        return int(self._run("waiting", lane))

    def unkept(self) -> Sequence[str]:
        """Records that failed or were cancelled, and whose end may not be on disk yet."""
        return sorted(cast("set[str]", self.redis.smembers(UNKEPT)))

    def mark_kept(self, id: str) -> None:
        """The end of a record is on disk."""
        self.redis.srem(UNKEPT, id)

    def lines(self, id: str, *, after: int = 0) -> Lines:
        """The log of a job from a line on; empty for one whose log is on disk."""
        found = self.redis.xrange(lines_key(id), min=f"({after}-0")
        return read_lines(cast("RawEntries", found))

    def unwritten(self) -> Sequence[str]:
        """Jobs that have ended, whose log is here alone."""
        return sorted(cast("set[str]", self.redis.smembers(UNWRITTEN)))

    def mark_written(self, id: str) -> None:
        """The log of a job is on disk; here it takes no more room."""
        self.redis.delete(lines_key(id))
        self.redis.srem(UNWRITTEN, id)

    def live_nonces(self) -> set[str]:
        """The nonces of all claims in force."""
        return set(cast("Sequence[str]", self.redis.hkeys("ccd:nonces")))

    def call(self, script: str, *args: str | float) -> Any:
        """What a script answers that is about no record; see the modules beside this one."""
        return self._run(script, *args)

    # ------------------------------------------------------------------ inside

    def _run(self, script: str, *args: str | float) -> Any:
        return self._scripts[script](args=[self._constants, *args])

    def _create(self, *args: str | float) -> Any:
        try:
            return self._run("create", *args)
        except redis.ResponseError as error:
            told = str(error).split()
            if told[0] != "QUOTA":
                raise
            raise QuotaExceeded(told[1], int(told[2]), int(told[3])) from error

    def _run_claimed(self, script: str, claim: Claim, *args: str | float) -> Any:
        found = self._run(script, claim.unit_id, claim.nonce, *args)
        if found is None:
            raise StaleClaim(claim.unit_id)
        return found

    def _get_all(self, ids: Iterable[str]) -> Records:
        """Those that are still there."""
        pipeline = self.redis.pipeline(transaction=False)
        for id in ids:
            pipeline.hgetall(f"ccd:record:{id}")
        return [read_record(fields) for fields in pipeline.execute() if fields]


def _asked(
    priority: int,
    submitter: str,
    project: str,
    *,
    passes: int,
    request_id: str | None,
    quotas: Mapping[str, int] | None = None,
) -> str:
    return json.dumps(
        {
            "priority": priority,
            "submitter": submitter,
            "project": project,
            "passes": passes,
            "request_id": request_id or "",
            "quotas": dict(quotas or {}),
        }
    )


def _index(kind: Kind, project: str) -> str:
    """As `index_key` in workers/scripts/prelude.lua."""
    return f"ccd:records:{kind}" + ("" if project == DEFAULT_PROJECT else f":{project}")


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
