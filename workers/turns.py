"""Where a record stands in its lane when every submitter has its turn; workers/scripts/shares.lua.

The order is that of one worker that takes what is there, with the records of a submitter taken to
be of one size, their mean.
"""

import itertools
import math
from bisect import bisect_right
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
        error = 1e-6 + 1e-9 * abs(rank)  # so close to a record of this one it is a tie
        before = math.floor(rank + error) + 1 if wins_tie else math.ceil(rank - error)
        return min(self.pending, before) if before > 0 else 0

    @property
    def ends_at(self) -> float:
        """The virtual time at which all of its work is done."""
        return self.starts_at(self.pending)


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
        before = rank
        for other, turn in self.turns.items():
            if other != submitter:
                before += turn.records_before(time, wins_tie=other < submitter)
        return 1 + before

    def positions(self) -> dict[str, int | None]:
        """Of all records at once, in the way that is less work.

        Either each is compared with every submitter, or everything in line is put in order.
        """
        in_line = sum(turn.pending for turn in self.turns.values())
        if len(self.ranks) * len(self.turns) <= in_line:
            return {id: self.position(id) for id in self.ranks}
        order = sorted(
            (round(turn.starts_at(rank), 6), turn.submitter, rank)
            for turn in self.turns.values()
            for rank in range(turn.pending)
        )
        places = {(who, rank): place for place, (_, who, rank) in enumerate(order, 1)}
        return {id: places[found] for id, found in self.ranks.items()}

    def images_before(self, id: str) -> float | None:
        """Images to be looked at before a record is started; None for one not in line."""
        if id not in self.ranks:
            return None
        submitter, rank = self.ranks[id]
        time = self.turns[submitter].starts_at(rank)
        times, rates, debts = self._course
        last = bisect_right(times, time) - 1
        return max(0.0, rates[last] * time - debts[last])

    @cached_property
    def _course(self) -> tuple[list[float], list[float], list[float]]:
        """Times at which somebody's work begins or ends, and what holds from each of them on.

        That are two numbers: at `time` the work done is `rate * time - debt`.
        """
        begins = [(turn.tag, turn.weight) for turn in self.turns.values()]
        ends = [(turn.ends_at, -turn.weight) for turn in self.turns.values()]
        events = sorted(begins + ends)
        rates = itertools.accumulate(rate for _, rate in events)
        debts = itertools.accumulate(time * rate for time, rate in events)
        return [time for time, _ in events], list(rates), list(debts)


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
