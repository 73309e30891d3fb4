"""What happens to a job, as it is read from a stream of server-sent events or seen by polling."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from ccd_client.models import Event

#: The service writes at least a comment every 15 s: three missed ones mean a dead connection.
SILENCE_SECONDS = 45.0
STREAM = "text/event-stream"
DONE = "job.done"
#: Begins what follows anew: what was asked for is gone.
RESYNC = "resync"


class Lines:
    """Bytes as they come -> whole lines; only CR and LF end one."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that end in `chunk`."""
        text = self._rest + chunk
        # A CR at the end may be the first half of a CR LF.
        held = b"\r" if text.endswith(b"\r") else b""
        text = text[: len(text) - len(held)]
        *lines, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = rest + held
        for line in lines:
            yield line.decode("utf-8", "replace")


class EventReader:
    """The bytes of one or more streams -> events, each once."""

    def __init__(self, after: int | None = None) -> None:
        #: Number of the last event that was read.
        self.last_seq = after
        self.open()

    def open(self) -> None:
        """A new stream begins: of the event that the old one broke off in, nothing counts."""
        self._lines = Lines()
        self._data: list[str] = []
        self._id = ""

    def headers(self) -> dict[str, str]:
        """Of the request for a stream that goes on where the last one ended."""
        resume = {} if self.last_seq is None else {"Last-Event-ID": str(self.last_seq)}
        return {"Accept": STREAM, "Cache-Control": "no-cache", **resume}

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in `chunk` and were not seen before."""
        for line in self._lines.feed(chunk):
            if line:
                self._take(line)
                continue
            event = self._dispatch()
            if event is not None and self._is_new(event):
                yield event

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value

    def _dispatch(self) -> Event | None:
        text, self._data = "\n".join(self._data), []
        try:
            content = json.loads(text) if text else None
            return Event.model_validate(self._with_seq(content)) if content else None
        except (ValueError, ValidationError):  # nothing that this version knows
            return None

    def _with_seq(self, content: Any) -> Any:
        if isinstance(content, dict) and content.get("seq") is None and self._id.isdecimal():
            return {**content, "seq": int(self._id)}
        return content

    def _is_new(self, event: Event) -> bool:
        if event.type == RESYNC:
            self.last_seq = None
            return True
        if event.seq is None:
            return True
        if self.last_seq is not None and event.seq <= self.last_seq:
            return False
        self.last_seq = event.seq
        return True


class PolledEvents:
    """Events out of a job that is asked for again and again, where no stream is to be had."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] | None = None

    def look(self, job: dict[str, Any]) -> Iterator[Event]:
        """What has changed since the last look."""
        seen, self._seen = self._seen, job
        if seen is None:
            yield _event("job.snapshot", job, job)
        else:
            yield from _changes(seen, job)
        if job.get("terminal"):
            yield _event(DONE, job, job)


def _changes(seen: dict[str, Any], job: dict[str, Any]) -> Iterator[Event]:
    if seen.get("status") != job.get("status"):
        yield _event("job.state", job, {"status": job.get("status")})
    if seen.get("phase") != job.get("phase"):
        yield _event("job.phase", job, {"phase": job.get("phase")})
    if seen.get("progress") != job.get("progress"):
        yield _event("job.progress", job, job.get("progress") or {})


def _event(kind: str, job: dict[str, Any], content: dict[str, Any]) -> Event:
    return Event(type=kind, job_id=str(job.get("id")), at=datetime.now(UTC), data=content)
