"""What a schedule is played on: the real store and folder, fake workers, and what was seen."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.faults.loose_store import LooseStore
from workers.files import DataFolder
from workers.jobs import Claim, Kind, Lane, Status
from workers.outcomes import read_kept


@dataclass
class Hand:
    """A worker, as far as a schedule knows it; a killed one is replaced by another."""

    name: str
    lane: Lane
    #: Asked with, and not answered yet.
    nonce: str | None = None
    claim: Claim | None = None
    #: Whether the output of the unit in hand is on disk.
    has_published: bool = False

    def forget(self) -> None:
        self.nonce = self.claim = None
        self.has_published = False


@dataclass
class Seen:
    """What was seen of a record."""

    #: Whether its request was answered 202; one that was not may have been taken all the same.
    is_accepted: bool = False
    is_there: bool = False
    status: Status = Status.QUEUED
    version: int = 0
    #: Of one that has ended: nothing is added to them.
    outputs: dict = field(default_factory=dict)


def output_of(phase: str, unit: int) -> str:
    """Named by what it depends on, which here is the same for every job."""
    return f"{phase}-{unit:032x}"


def content_of(name: str) -> bytes:
    return f"the only right content of {name}\n".encode() * 3


class Ground:
    """The state of one schedule."""

    def __init__(self, seed: int, client: redis.Redis, folder: DataFolder) -> None:
        client.flushall()
        self.random = random.Random(seed)
        self.folder = folder
        self.store = LooseStore(client)
        self.now = 1_800_000_000.0
        self.store.set_clock(self.now)
        self.hands = [Hand(f"{lane}{n}", lane) for lane in Lane for n in range(2)]
        self.zombies: list[Claim] = []
        #: Nonce -> unit, of all claims that were answered.
        self.units: dict[str, str] = {}
        self.seen: dict[str, Seen] = {}
        self.whole: set[str] = set()
        #: How what had ended before a power cut must end again.
        self.kept_ends: dict[str, Status] = {}
        self.rung: set[Lane] = set()
        #: What was done, and what of it was seen.
        self.log: list[str] = []
        self.sights: list[tuple[str, Status, int]] = []
        self.count = 0

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        self.store.set_clock(self.now)

    def _published(self) -> set[str]:
        return {path.name for path in self.folder.phases.iterdir()}

    def _next(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count:06d}"

    def _end_on_disk(self, id: str) -> Status | None:
        ending = read_kept(self._own(id)).ending
        return ending.status if ending else None

    def _own(self, id: str) -> Path:
        return self.folder.of(Kind.DATASET if id.startswith("ds_") else Kind.JOB, id)

    def _any(self, ids) -> str | None:
        found = sorted(ids)
        return self.random.choice(found) if found else None

    def _is_there(self, id: str) -> bool:
        return bool(self.store.redis.exists(f"ccd:record:{id}"))
