"""The events of one job, each once, whatever becomes of the connection."""

import time
from dataclasses import replace

import httpx

from ccd_client._async.transport import AsyncTransport
from ccd_client._async_io import Stream, closing, raw, sleep
from ccd_client.calls import Call, get
from ccd_client.errors import (
    NotFound,
    Problem,
    ServiceUnreachable,
    UnexpectedAnswer,
    WaitTimedOut,
)
from ccd_client.events import DONE, SILENCE_SECONDS, STREAM, EventReader, PolledEvents
from ccd_client.models import Event
from ccd_client.retries import Tries

#: How often a job is asked for where the service has no events, in seconds.
POLL_SECONDS = 0.5
#: Codes of a service that has no events, or of a proxy that lets no stream through.
NO_STREAM = frozenset({404, 405, 406, 501})


class AsyncFollower:
    """Reads a stream of events, opens it again where it breaks, and polls where there is none."""

    def __init__(
        self, transport: AsyncTransport, path: str, *, after: int | None, timeout: float | None
    ) -> None:
        self._transport, self._path = transport, path
        self._reader = EventReader(after)
        self._timeout = timeout
        self._gives_up_at = None if timeout is None else time.monotonic() + timeout
        self._tries = Tries(transport.patience)

    async def events(self) -> Stream[Event]:
        """Up to and with `job.done`, or nothing where that was seen before.

        Raises:
            WaitTimedOut: the job goes on still after the timeout.
        """
        while True:
            try:
                async with closing(self._streamed()) as events:
                    async for event in events:
                        yield event
                        if event.type == DONE:
                            return
                return
            except NotFound as problem:
                if problem.code == "job_not_found":
                    raise
                break
            except UnexpectedAnswer:
                break
            except (ServiceUnreachable, Problem) as failure:
                if isinstance(failure, Problem) and failure.status in NO_STREAM:
                    break
                self._check_time()  # whose time is over is told so, whatever broke
                pause = self._tries.pause_after(failure, can_repeat=True)
            await sleep(pause)
        async with closing(self._polled()) as events:
            async for event in events:
                yield event

    async def _streamed(self) -> Stream[Event]:
        """One stream, to its end; a stream that ends before the job did is a broken one."""
        self._reader.open()
        async with self._transport.open(self._call()) as response:
            if response.status_code == httpx.codes.NO_CONTENT:
                return
            if STREAM not in response.headers.get("Content-Type", ""):
                raise UnexpectedAnswer(f"{self._path}/events is no stream")
            async with closing(raw(response)) as chunks:
                async for chunk in chunks:
                    # Also by a comment the service lives: a job may be quiet for long.
                    self._tries = Tries(self._transport.patience)
                    for event in self._reader.feed(chunk):
                        yield event
                    self._check_time()
        raise ServiceUnreachable(f"the events of {self._path} broke off")

    def _call(self) -> Call:
        call = get(f"{self._path}/events").with_headers(self._reader.headers())
        silence = min(SILENCE_SECONDS, max(self._left(), 0.1))
        return replace(call, timeout=httpx.Timeout(30, connect=5, read=silence))

    async def _polled(self) -> Stream[Event]:
        polled = PolledEvents()
        while True:
            for event in polled.look(await self._transport.json(get(self._path))):
                yield event
                if event.type == DONE:
                    return
            self._check_time()
            await sleep(min(POLL_SECONDS, self._left()))

    def _left(self) -> float:
        return (
            SILENCE_SECONDS if self._gives_up_at is None else self._gives_up_at - time.monotonic()
        )

    def _check_time(self) -> None:
        if self._gives_up_at is not None and time.monotonic() >= self._gives_up_at:
            raise WaitTimedOut(f"{self._path} goes on still after {self._timeout:g} seconds")
