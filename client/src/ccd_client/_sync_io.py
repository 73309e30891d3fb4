"""What the synchronous client waits, reads and sends with; `_async_io` has the same names."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

import httpx

__all__ = ["HttpClient", "HttpTransport", "Stream", "closing", "opened", "raw", "sent", "sleep"]

Item = TypeVar("Item")
#: What a generator function returns.
Stream = Generator[Item, None, None]
HttpClient = httpx.Client
HttpTransport = httpx.BaseTransport
opened = contextmanager


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def sent(body: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of a body."""
    return body


def raw(response: httpx.Response) -> Stream[bytes]:
    """The bytes of an answer as they come."""
    yield from response.iter_raw()
