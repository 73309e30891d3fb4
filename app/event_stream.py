"""Events of a job as an answer that goes on until the job is over (server-sent events)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import anyio
import structlog
from fastapi.responses import StreamingResponse
from redis import RedisError
from starlette.types import Message, Send

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
PIECE_BYTES = 16_384
#: What a client waits before it comes back, in milliseconds.
RETRY = b"retry: 3000\n\n"
ALIVE = b": alive\n\n"


class EventStream(StreamingResponse):
    """What `watch` sees from `first` on, as long as its reader `may_go_on`."""

    def __init__(
        self, watch: Watch, first: Sequence[Event], may_go_on: Callable[[], Awaitable[bool]]
    ) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_chunks(watch, first, may_go_on), headers=headers, media_type=MEDIA_TYPE)

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
