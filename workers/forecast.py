"""When queued records will be started: what lies before them, over how fast the workers are."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from workers.jobs import Lane, Record, Status, rfc3339
from workers.registry import Registry, Standing
from workers.store import Store

MINUTE_MS = 60_000
#: A look at the workers is good for so long: reading a hundred of them costs more than all else
#: that one answer needs, and what is told of them is told to the minute.
CREW_SECONDS = 1.0

_crews: WeakKeyDictionary[Store, dict[Lane, tuple[float, list[Standing]]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Place:
    """Where a record stands in its lane."""

    position: int | None
    #: RFC 3339 in UTC, to the minute; None where nobody can know.
    estimated_start_at: str | None
    #: What it lacks besides its turn; None where that is all.
    waiting_for: str | None = None


#: Of a record that is not in line.
NO_PLACE = Place(None, None)


def find_places(records: Sequence[Record], store: Store) -> dict[str, Place]:
    """The places of those that are queued: one look at each lane, whatever their number."""
    queued = [record for record in records if record.status is Status.QUEUED]
    places: dict[str, Place] = {}
    for lane in {record.phases[0].lane for record in queued}:
        ids = [record.id for record in queued if record.phases[0].lane is lane]
        queue = store.queue(lane, ids)
        crew = _recent_crew(lane, store)
        idle, rate = sum(each.unit is None for each in crew), images_per_second(crew)
        for id, position in queue.positions().items():
            seconds = _seconds_to(position, queue.images_before(id), idle=idle, rate=rate)
            at = _to_the_minute(queue.now_ms, seconds)
            places[id] = Place(position, at, _missing(lane, crew))
        if unregistered := set(ids) - queue.ranks.keys():
            lack = _missing(Lane.IO, _recent_crew(Lane.IO, store))
            places |= dict.fromkeys(unregistered, Place(None, None, lack))
    return places


def _missing(lane: Lane, crew: Sequence[Standing]) -> str | None:
    if crew:
        return None
    return f"a worker: none takes lane {lane}; start one with `ccd worker --lane {lane}`"


def _recent_crew(lane: Lane, store: Store) -> list[Standing]:
    looks = _crews.setdefault(store, {})
    now = time.monotonic()
    looked_at, crew = looks.get(lane, (-math.inf, []))
    if now - looked_at >= CREW_SECONDS:
        crew = crew_of(lane, store)
        looks[lane] = (now, crew)
    return crew


def crew_of(lane: Lane, store: Store) -> list[Standing]:
    """The live workers of a lane, but for those that are about to end."""
    standings = (entry.standing for entry in Registry(store).list())
    return [each for each in standings if each.lane is lane and not each.draining]


def images_per_second(crew: Sequence[Standing]) -> float | None:
    """Of all together; those that have not measured it count as the mean. None where none has."""
    known = [each.images_per_second for each in crew if each.images_per_second]
    return statistics.fmean(known) * len(crew) if known else None


def _seconds_to(
    position: int | None, images: float | None, *, idle: int, rate: float | None
) -> float | None:
    if position is None or images is None or rate is None:
        return None
    return 0 if position <= idle else images / rate


def _to_the_minute(now_ms: int, seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return rfc3339(round((now_ms + seconds * 1000) / MINUTE_MS) * MINUTE_MS)
