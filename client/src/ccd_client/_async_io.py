"""What the asynchronous client waits, reads and sends with; `_sync_io` has the same names."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import httpx

__all__ = ["HttpClient", "HttpTransport", "Stream", "closing", "opened", "raw", "sent", "sleep"]

Item = TypeVar("Item")
#: What a generator function returns.
Stream = AsyncGenerator[Item, None]
HttpClient = httpx.AsyncClient
HttpTransport = httpx.AsyncBaseTransport
closing = aclosing
opened = asynccontextmanager


def sleep(seconds: float) -> Awaitable[None]:
    """Wait, and let others work."""
    return asyncio.sleep(seconds)


async def sent(body: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a body; files are read in a thread."""
    while (piece := await asyncio.to_thread(next, body, None)) is not None:
        yield piece


async def raw(response: httpx.Response) -> Stream[bytes]:
    """The bytes of an answer as they come."""
    async for chunk in response.aiter_raw():
        yield chunk
