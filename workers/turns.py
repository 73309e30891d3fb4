"""Where a record stands in its lane when every submitter has its turn; workers/scripts/shares.lua.

The order is that of one worker that takes what is there, with the records of a submitter taken to
be of one size, their mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A submitter whose work lies ahead in a lane."""

    submitter: str
    #: The virtual time at which its next unit starts.
    tag: float
    weight: float
    #: Its records that could be started.
    pending: int
    #: Images of those, as often as each is looked at; 0 where nobody knows.
    asked: int
    #: Images of all its records that are not in hand or done.
    left: int

    @cached_property
    def started(self) -> int:
        """Images of records that were started: they come before all others of the submitter."""
        return max(0, self.left - self.asked)

    @cached_property
    def size(self) -> float:
        """Mean images of a record that could be started; its first unit is at least one."""
        return max(1.0, self.asked / self.pending) if self.pending else 1.0

    def starts_at(self, rank: int) -> float:
        """The virtual time at which its record of a rank, from 0, is started."""
        return self.tag + (self.started + rank * self.size) / self.weight

    def records_before(self, time: float, *, wins_tie: bool) -> int:
        """How many of its records are started before a virtual time."""
        rank = ((time - self.tag) * self.weight - self.started) / self.size
        nearest = round(rank)
        is_tie = math.isclose(rank, nearest, rel_tol=1e-9, abs_tol=1e-6)
        before = nearest + wins_tie if is_tie else math.ceil(rank)
        return min(self.pending, max(0, before))

    def images_before(self, time: float) -> float:
        """How much of its work is done before a virtual time."""
        ahead = self.started + self.pending * self.size
        return min(ahead, max(0.0, (time - self.tag) * self.weight))


@dataclass(frozen=True)
class Queue:
    """One look at a lane."""

    #: Milliseconds since 1970, by the clock of Redis.
    now_ms: int
    turns: Mapping[str, Turn]
    #: Record -> its submitter and its rank there, from 0. Those in line alone.
    ranks: Mapping[str, tuple[str, int]]

    def position(self, id: str) -> int | None:
        """1 for the record that is started next; None for one that is not in line."""
        if id not in self.ranks:
            return None
        submitter, rank = self.ranks[id]
        time = self.turns[submitter].starts_at(rank)
        others = (turn for turn in self.turns.values() if turn.submitter != submitter)
        return (
            1
            + rank
            + sum(turn.records_before(time, wins_tie=turn.submitter < submitter) for turn in others)
        )

    def images_before(self, id: str) -> float | None:
        """Images to be looked at before a record is started; None for one not in line."""
        if id not in self.ranks:
            return None
        submitter, rank = self.ranks[id]
        time = self.turns[submitter].starts_at(rank)
        return sum(turn.images_before(time) for turn in self.turns.values())


def read_queue(ids: Sequence[str], found: Sequence[Any]) -> Queue:
    """What the script `forecast` told of some records."""
    now_ms, rows, places = found
    turns = [
        Turn(
            submitter=submitter,
            tag=float(tag),
            weight=float(weight),
            pending=int(pending),
            asked=int(asked),
            left=int(left),
        )
        for submitter, tag, weight, pending, asked, left in rows
    ]
    return Queue(
        int(now_ms),
        {turn.submitter: turn for turn in turns},
        {
            id: (submitter, int(rank))
            for id, (submitter, rank) in zip(ids, places, strict=True)
            if int(rank) >= 0
        },
    )
