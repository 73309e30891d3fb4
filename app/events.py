"""Events of jobs as the API shows them: as JSON, and as text of a stream."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastapi.sse import format_sse_event

from app.replies import job_reply, progress_reply
from workers.events import Entry
from workers.jobs import Phase, Record, rfc3339
from workers.records import Fields, read_progress, read_record

SNAPSHOT, PROGRESS, DONE, RESYNC = "job.snapshot", "job.progress", "job.done", "resync"


@dataclass(frozen=True)
class Event:
    """What happened to a job; shared by all who watch it."""

    type: str
    job_id: str
    #: Grows by one.
    seq: int
    at_ms: int
    data: Mapping[str, Any]

    @cached_property
    def body(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "job_id": self.job_id,
            "at": rfc3339(self.at_ms),
            "seq": self.seq,
            "data": self.data,
        }

    @cached_property
    def sse(self) -> bytes:
        """Its text in a stream, made once for all."""
        text = json.dumps(self.body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        # Who is cut off behind `resync` has not got the snapshot yet, and asks for the same again.
        id = None if self.type == RESYNC else str(self.seq)
        return format_sse_event(data_str=text, event=self.type, id=id)


def event_of(entry: Entry, job_id: str, fields: Fields, phases: tuple[Phase, ...]) -> Event:
    """An event of the store; `fields` are the record's, and need be whole for the last one only."""
    data = entry.data
    if entry.type == PROGRESS:
        data = _progress(entry, phases)
    elif entry.type == DONE:
        data = job_reply(read_record(fields), None)
    return Event(entry.type, job_id, entry.seq, entry.at_ms, data)


def _progress(entry: Entry, phases: tuple[Phase, ...]) -> dict[str, Any]:
    """In the form that a job has."""
    then = {"status": "running", "started_ms": "0", "updated_ms": str(entry.at_ms)}
    return progress_reply(read_progress({**entry.data, **then}, phases))


def snapshot(record: Record, seq: int, reply: Mapping[str, Any]) -> list[Event]:
    """The job as it is after the event `seq`; one that is over says so once more."""
    now_ms = time.time_ns() // 1_000_000
    if not record.status.is_final:
        return [Event(SNAPSHOT, record.id, seq, now_ms, reply)]
    # A record from before there were events has no number: its end is the first.
    last = max(1, seq)
    return [
        Event(SNAPSHOT, record.id, last - 1, now_ms, reply),
        Event(DONE, record.id, last, now_ms, reply),
    ]


def resync(job_id: str, seq: int, asked: int) -> Event:
    """The events after `asked` cannot be had: what follows is how the job is now."""
    return Event(RESYNC, job_id, seq, time.time_ns() // 1_000_000, {"after": asked})
