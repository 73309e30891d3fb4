"""What a record of work is: its status, its moves, its phases, its progress."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

#: Digits of ids in ascending ASCII order, without the look-alikes i, l, o and u.
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in MOVES


#: Every allowed move. A status that is not a key is an end: nothing follows it.
MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.CANCELLING, Status.SUCCEEDED, Status.FAILED}),
    Status.CANCELLING: frozenset({Status.CANCELLED}),
}


class Kind(StrEnum):
    DATASET = "dataset"
    JOB = "job"
    PREDICTION = "prediction"
    EVALUATION = "evaluation"
    EXPORT = "export"
    #: A class activation map somebody asked for: made again whenever it is lost.
    CAM = "cam"

    @property
    def is_durable(self) -> bool:
        """Whether its request and its result are kept on disk, and its record for good."""
        return self is not Kind.CAM


#: Whose work is that nobody has put a name to.
NOBODY = "default"
#: What belongs to no other project: all there was before projects, all of a service without keys.
DEFAULT_PROJECT = "default"


class Priority(IntEnum):
    """How a submitter ranks its own records: each step is worth a fixed time of waiting."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


class Lane(StrEnum):
    IO = "io"
    METHOD = "method"


@dataclass(frozen=True)
class Phase:
    """One step of a record, cut into units that are claimed one by one."""

    name: str
    lane: Lane
    #: How many units; at least 1.
    units: int = 1
    #: Unit k + 1 opens when unit k is done; otherwise all units open at once.
    sequential: bool = False
    #: Share of the record's work, in any unit that all its phases have in common. A phase of
    #: weight 0 does not move the percentage.
    weight: float = 1.0
    #: What `done` counts over the whole phase, where it is known beforehand.
    items: int | None = None

    def __post_init__(self) -> None:
        if self.units < 1 or self.weight < 0:
            raise ValueError(
                f"phase {self.name} needs at least 1 unit and no negative weight, "
                f"has {self.units} and {self.weight}"
            )


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a record is; `done` and `total` count items (images) of the present phase."""

    #: None until a worker has started the record.
    phase: str | None
    #: Position of the present phase, from 0.
    phase_index: int
    #: Phases known so far.
    phase_count: int
    done: int
    #: 0 while it is not known.
    total: int
    #: Of the whole record, 0 to 100; never falls.
    percent: float
    #: Items a second over the time that units of this phase were in work; None until measured.
    rate_per_second: float | None
    #: Seconds to the end of the record, as the weights of its phases tell; None until measured.
    eta_seconds: float | None
    updated_at: str
    #: The last remark of a running unit, e.g. its loss.
    note: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobError:
    """Why a record failed."""

    code: str
    phase: str | None
    message: str
    hint: str | None = None
    retryable: bool = False


@dataclass(frozen=True)
class Mark:
    """The key of the request that makes a record; see `workers/once.py`."""

    #: Whose it is, and its text.
    name: str
    #: Stands for everything that was asked for.
    digest: str
    #: What the ids of the request's records have behind their prefixes.
    stem: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """A piece of work as Redis holds it at one moment. Times are RFC 3339 in UTC."""

    kind: Kind
    id: str
    status: Status
    #: None until a worker has started it.
    phase: str | None
    phases: tuple[Phase, ...]
    progress: Progress
    #: What was asked for, as given to `create`.
    request: Mapping[str, Any]
    #: What its units found out, merged in the order of their completion.
    facts: Mapping[str, Any]
    error: JobError | None
    #: Larger runs first, among the records of its submitter; see `Priority`.
    priority: int
    #: The record whose success this one needs, and which cannot be deleted meanwhile.
    waits_for: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    updated_at: str
    #: Grows with every visible change.
    version: int
    #: The request to the API that asked for it; on every log line of its units.
    request_id: str | None = None
    #: Whose share of the workers it takes.
    submitter: str = NOBODY
    #: Whose it is: to others it is not there.
    project: str = DEFAULT_PROJECT


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to run one unit, until its lease ends."""

    record: Record
    phase: str
    #: Position of the unit in its phase, from 0.
    unit: int
    #: Named by every write; a write with another nonce is refused.
    nonce: str
    #: From 1.
    attempt: int
    lane: Lane
    worker: str

    @property
    def unit_id(self) -> str:
        return unit_id(self.record.id, self.phase, self.unit)


def unit_id(record_id: str, phase: str, unit: int) -> str:
    """Six digits, so that units of one phase sort by number."""
    return f"{record_id}/{phase}/{unit:06d}"


def split_unit_id(unit: str) -> tuple[str, str, int]:
    """(record id, phase, number) of a unit."""
    record_id, phase, number = unit.split("/")
    return record_id, phase, int(number)


def new_id(prefix: str) -> str:
    """Opaque; sorts by the millisecond of its making, then at random (60 bits)."""
    return f"{prefix}_{new_stem()}"


def new_stem() -> str:
    """What an id has behind its prefix."""
    milliseconds = _in_digits(time.time_ns() // 1_000_000, 10)
    return f"{milliseconds}{_in_digits(secrets.randbits(60), 12)}"


def made_ms(id: str) -> int | None:
    """The millisecond in which `new_id` made an id; None for one of another origin."""
    digits = id.partition("_")[2]
    if len(digits) != 22 or set(digits) - set(DIGITS):
        return None
    made = 0
    for digit in digits[:10]:
        made = made << 5 | DIGITS.index(digit)
    return made


def from_rfc3339(text: str) -> int:
    """Milliseconds since 1970, from what `rfc3339` wrote."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def rfc3339(milliseconds: int) -> str:
    """`2026-11-23T12:00:00.000Z`, from milliseconds since 1970."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_digits(number: int, length: int) -> str:
    return "".join(DIGITS[number >> 5 * place & 31] for place in reversed(range(length)))
