"""When queued records will be started: what lies before them, over how fast the workers are."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workers.jobs import Lane, Record, Status, rfc3339
from workers.registry import Registry, Standing
from workers.store import Store
from workers.turns import Queue

MINUTE_MS = 60_000


@dataclass(frozen=True)
class Place:
    """Where a record stands in its lane."""

    position: int | None
    #: RFC 3339 in UTC, to the minute; None where nobody can know.
    estimated_start_at: str | None


#: Of a record that is not in line.
NO_PLACE = Place(None, None)


def find_places(records: Sequence[Record], store: Store) -> dict[str, Place]:
    """The places of those records that are in line; what it costs hardly grows with the queue."""
    queued = [record for record in records if record.status is Status.QUEUED]
    places: dict[str, Place] = {}
    for lane in {record.phases[0].lane for record in queued}:
        ids = [record.id for record in queued if record.phases[0].lane is lane]
        queue = store.queue(lane, ids)
        standings = [entry.standing for entry in Registry(store).list()] if queue.ranks else []
        rate = images_per_second(lane, standings)
        places |= {id: Place(queue.position(id), _start_at(queue, id, rate)) for id in queue.ranks}
    return places


def images_per_second(lane: Lane, standings: Iterable[Standing]) -> float | None:
    """Of all workers of a lane that stay; those that have not measured it count as the mean.

    None where none has.
    """
    rates = [
        each.images_per_second for each in standings if each.lane is lane and not each.draining
    ]
    known = [rate for rate in rates if rate]
    return statistics.fmean(known) * len(rates) if known else None


def _start_at(queue: Queue, id: str, rate: float | None) -> str | None:
    images = queue.images_before(id)
    if images is None or rate is None:
        return None
    start_ms = queue.now_ms + images / rate * 1000
    return rfc3339(round(start_ms / MINUTE_MS) * MINUTE_MS)
