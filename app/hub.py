"""Those who watch jobs: one look at Redis for all of them, shared out.

Every script that tells something puts the job's id on a channel. One connection listens to it, one
call reads what is new of all jobs that are watched, and every watcher takes what it lacks at its
own pace: nothing is queued for anybody, so whoever is slow costs the others nothing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from weakref import WeakValueDictionary

import anyio
import structlog
from redis import RedisError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from app.events import DONE, SNAPSHOT, Event, event_of, resync, snapshot
from workers.events import TOLD, Entry, RawEntries, events_key, read_entries
from workers.jobs import Record, Status
from workers.records import read_phases, read_record
from workers.store import RecordNotFound

log = structlog.get_logger()

#: Events of a job that its watchers share; who lacks more asks Redis.
MOST_SHARED = 100
#: Silence of the channel after which it is asked whether it is still there, in seconds.
SILENCE_SECONDS = 10.0
#: Between two attempts to reach Redis.
RETRY_SECONDS = 0.5
#: Watchers that read for themselves at the same time.
MOST_READS = 8

Show = Callable[[Record], Awaitable[Mapping[str, Any]]]


class Position(NamedTuple):
    """The last event that somebody has."""

    seq: int
    #: When it was; None where that is not known. Redis may lose its last second, and count again.
    at_ms: int | None = None


@dataclass(frozen=True)
class News:
    """What came after a position."""

    #: None: the events that come next are gone, or never were.
    events: Sequence[Event] | None
    is_final: bool


class Answer(NamedTuple):
    """What Redis has of a job after a position: of its record status, seq and phases; events."""

    job_id: str
    at: Position
    fields: Sequence[str | None]
    raw: RawEntries


class Feed:
    """What the watchers of one job share."""

    def __init__(self) -> None:
        #: None until somebody has read.
        self.at: Position | None = None
        self.changed = asyncio.Event()
        self._recent: deque[Event] = deque(maxlen=MOST_SHARED)

    def since(self, seq: int) -> list[Event] | None:
        """Events after `seq`; None where Redis has to be asked."""
        if self.at is None:
            return None
        if seq >= self.at.seq:
            return []
        if not self._recent or self._recent[0].seq > seq + 1:
            return None
        return [event for event in self._recent if event.seq > seq]

    def add(self, events: Sequence[Event]) -> None:
        self._recent.extend(events)
        self.at = Position(events[-1].seq, events[-1].at_ms)
        self.notify()

    def reset(self) -> None:
        """Everybody has to look for himself."""
        self._recent.clear()
        self.at = None
        self.notify()

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Hub:
    """The watchers of one process. `show` is a job as GET shows it."""

    def __init__(self, redis: Redis, show: Show) -> None:
        self.is_ending = False
        self._redis, self._show = redis, show
        # A feed lives as long as somebody watches.
        self._feeds: WeakValueDictionary[str, Feed] = WeakValueDictionary()
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._reads = anyio.CapacityLimiter(MOST_READS)

    async def run(self) -> None:
        """Listen and share out, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._go_on, self._listen)
            tasks.start_soon(self._go_on, self._share)

    def end(self) -> None:
        """Every watcher is to stop now."""
        self.is_ending = True
        for feed in list(self._feeds.values()):
            feed.notify()

    def watch(self, job_id: str, after: int | None) -> "Watch":
        """Watch a job from behind an event, or from now on."""
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = Feed()
        return Watch(self, feed, job_id, None if after is None else Position(after))

    async def read(self, job_id: str, at: Position) -> News:
        """What came after `at`.

        Raises:
            RecordNotFound: the job was deleted.
        """
        async with self._reads:
            found = await self._read([(job_id, at)])
        if job_id not in found:
            raise RecordNotFound(job_id)
        return found[job_id]

    async def snapshot(self, job_id: str) -> list[Event]:
        """The job as it is."""
        async with self._reads:
            fields = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(_record(job_id)))
        if not fields:
            raise RecordNotFound(job_id)
        record = read_record(fields)
        return snapshot(record, int(fields.get("seq", 0)), await self._show(record))

    def look(self, job_ids: Iterable[str]) -> None:
        """Something may be new of these."""
        self._dirty.update(id for id in job_ids if id in self._feeds)
        self._wake.set()

    async def _go_on(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Begin again whatever happened: without these loops every watcher waits for ever."""
        while True:
            try:
                await loop()
            except Exception:
                log.exception("events.failed")
                for feed in list(self._feeds.values()):
                    feed.reset()
                await anyio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(TOLD)
                    self.look(list(self._feeds))  # what was told meanwhile, nobody heard
                    await self._hear(channel)
            await anyio.sleep(RETRY_SECONDS)

    async def _hear(self, channel: PubSub) -> None:
        """Until the connection ends, or is silent although it was asked."""
        is_asked = False
        while True:
            message = await channel.get_message(timeout=SILENCE_SECONDS)
            if message is None and is_asked:
                return
            is_asked = message is None
            if message is None:
                await channel.ping()
            elif message["type"] == "message":
                self.look([message["data"]])

    async def _share(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            try:
                await self._refresh(dirty)
            except RedisError as error:
                log.warning("events.unheard", error=str(error))
                self._dirty |= dirty
                await anyio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _refresh(self, job_ids: Iterable[str]) -> None:
        feeds = {id: feed for id in job_ids if (feed := self._feeds.get(id)) is not None}
        asked = {id: feed.at for id, feed in feeds.items() if feed.at is not None}
        found = {}
        for answer in await self._ask(list(asked.items())) if asked else ():
            try:
                found[answer.job_id] = await self._news(answer)
            except RedisError:
                raise
            except Exception:  # its own watchers read it themselves, and are told
                log.exception("events.unreadable", record=answer.job_id)
        for id, feed in feeds.items():
            news = found.get(id)
            if news is None or news.events is None or feed.at != asked.get(id):
                feed.reset()
            elif news.events:
                feed.add(news.events)

    async def _read(self, asked: Sequence[tuple[str, Position]]) -> dict[str, News]:
        """What came after each position; nothing of a job that is no longer there."""
        return {answer.job_id: await self._news(answer) for answer in await self._ask(asked)}

    async def _ask(self, asked: Sequence[tuple[str, Position]]) -> list[Answer]:
        """The same, not read yet."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            for job_id, at in asked:
                pipeline.hmget(_record(job_id), ["status", "seq", "phases"])
                pipeline.xrange(events_key(job_id), min=f"{at.seq}-0")
            answers = await pipeline.execute()
        rows = zip(asked, answers[::2], answers[1::2], strict=True)
        return [Answer(*one, fields, raw) for one, fields, raw in rows if fields[0] is not None]

    async def _news(self, answer: Answer) -> News:
        job_id, at, (status, seq, phases), raw = answer
        is_final = Status(str(status)).is_final
        entries = _behind(at, read_entries(raw), last=max(int(seq or 0), int(is_final)))
        if not entries:
            return News(entries if entries is None else (), is_final)
        whole: dict[str, str] = {}
        if entries[-1].type == DONE:
            whole = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(_record(job_id)))
            if not whole:
                return News(None, is_final)
        known = read_phases(str(phases))
        return News([event_of(entry, job_id, whole, known) for entry in entries], is_final)


class Watch:
    """One watcher of one job."""

    def __init__(self, hub: Hub, feed: Feed, job_id: str, at: Position | None) -> None:
        self.job_id = job_id
        #: Nothing more will come.
        self.is_over = False
        self._hub, self._feed, self._at = hub, feed, at
        self._changed = feed.changed
        self._has_looked = False

    @property
    def seq(self) -> int:
        """Of the last event that it has."""
        return 0 if self._at is None else self._at.seq

    async def news(self) -> Sequence[Event]:
        """What is new, at once; a fresh one begins with a snapshot.

        Raises:
            RecordNotFound: the job was deleted.
        """
        self._changed = self._feed.changed
        self.is_over = self._hub.is_ending
        events = await self._news()
        self._has_looked = True
        if events:
            last = events[-1]
            self._at = Position(last.seq, None if last.type == SNAPSHOT else last.at_ms)
            self.is_over |= last.type == DONE
        return events

    async def wait(self, seconds: float) -> bool:
        """Whether something came within `seconds`; call `news` before and afterwards."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()
            return True
        return False

    async def _news(self) -> Sequence[Event]:
        if self._at is None:
            return await self._snapshot()
        shared = self._feed.since(self._at.seq) if self._has_looked else None
        if shared is not None:
            return shared
        news = await self._hub.read(self.job_id, self._at)
        if news.events is None:
            behind = await self._snapshot()
            return [resync(self.job_id, behind[0].seq, self._at.seq), *behind]
        self.is_over |= news.is_final and not news.events
        self._share(news.events[-1].seq if news.events else self._at.seq)
        return news.events

    async def _snapshot(self) -> Sequence[Event]:
        events = await self._hub.snapshot(self.job_id)
        self._share(events[-1].seq)
        return events

    def _share(self, seq: int) -> None:
        """The feed goes on from here, if it has nothing yet."""
        if self._feed.at is None:
            self._feed.at = Position(seq)
            self._hub.look([self.job_id])  # what was told while this was read


def _behind(at: Position, entries: list[Entry], *, last: int) -> list[Entry] | None:
    """Those that follow on `at` without a gap, up to the last of all; None where one is missing."""
    if entries and entries[0].seq == at.seq:
        if at.at_ms not in {None, entries[0].at_ms}:
            return None  # another event now has this number
        entries = entries[1:]
    elif at.at_ms is not None:
        return None
    if entries:
        return entries if entries[0].seq == at.seq + 1 else None
    return [] if at.seq == last else None


def _record(job_id: str) -> str:
    return f"ccd:record:{job_id}"
