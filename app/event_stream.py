"""Events of a job as an answer that goes on until the job is over (server-sent events)."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import anyio
import structlog
from fastapi.responses import StreamingResponse
from redis import RedisError
from starlette.types import Message, Receive, Scope, Send

from app.errors import Problem
from app.events import Event
from app.hub import Watch
from workers.store import RecordNotFound

log = structlog.get_logger()

MEDIA_TYPE = "text/event-stream"
#: After this long without an event a comment tells proxies that the stream lives, in seconds.
KEEP_ALIVE_SECONDS = 15.0
#: Who takes nothing for so long is dropped. He comes back with Last-Event-ID and misses nothing.
MOST_SEND_SECONDS = 20.0
#: A job is deleted after its end, which ends its streams. One that is gone before was lost by
#: Redis, and comes back with `ccd recover`: so many looks are taken.
MOST_MISSES = 20
#: Seconds after which who has too many streams open may try again.
FULL_RETRY_SECONDS = 5
PIECE_BYTES = 16_384
#: What a client waits before it comes back, in milliseconds.
RETRY = b"retry: 3000\n\n"
ALIVE = b": alive\n\n"


class OpenStreams:
    """How many streams each key has open in this process; `most` of 0 is no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = Counter[str]()

    @contextmanager
    def one_more(self, key_id: str | None) -> Iterator[None]:
        """Have one more open.

        Raises:
            Problem: `rate_limited`.
        """
        name = key_id or ""  # those who need no key are one
        if 0 < self._most <= self._open[name]:
            raise Problem(
                "rate_limited",
                f"the key has {self._most:,} event streams open (CCD_MAX_STREAMS_PER_KEY); "
                "end one of them first",
                headers={"Retry-After": str(FULL_RETRY_SECONDS)},
            )
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]


class EventStream(StreamingResponse):
    """What `watch` sees from `first` on, as long as its reader `may_go_on`; it takes a `place`."""

    def __init__(
        self,
        watch: Watch,
        first: Sequence[Event],
        may_go_on: Callable[[], Awaitable[bool]],
        place: AbstractContextManager[None],
    ) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_chunks(watch, first, may_go_on), headers=headers, media_type=MEDIA_TYPE)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(_impatient(send, MOST_SEND_SECONDS))
        except TimeoutError:
            # Without its end the server closes the connection.
            log.info("stream.dropped", seconds=MOST_SEND_SECONDS)


async def _chunks(
    watch: Watch, first: Sequence[Event], may_go_on: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    yield RETRY
    for piece in _pieces(first):
        yield piece
    misses = 0
    while not watch.is_over:
        is_silent = not await watch.wait(KEEP_ALIVE_SECONDS)
        if not await may_go_on():
            return
        if is_silent:
            yield ALIVE
        try:
            events = await watch.news()
        except RecordNotFound:
            misses += 1
            if misses > MOST_MISSES:
                return
            continue
        except RedisError:
            continue  # it is told when Redis is back
        for piece in _pieces(events):
            yield piece


def _pieces(events: Sequence[Event]) -> Iterator[bytes]:
    """Their text, in pieces: the server keeps a piece for a client that does not take it."""
    piece = b""
    for event in events:
        if piece and len(piece) + len(event.sse) > PIECE_BYTES:
            yield piece
            piece = b""
        piece += event.sse
    if piece:
        yield piece


def _impatient(send: Send, seconds: float) -> Send:
    async def send_soon(message: Message) -> None:
        with anyio.fail_after(seconds):
            await send(message)

    return send_soon
