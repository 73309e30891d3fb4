"""Calls that come when they come, whether or not those before were answered (an open loop)."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Mapping, Sequence

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: Connections at a time: more is an outage, not a measurement.
MOST_LINES = 500


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A call as it goes over the line."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def run(address: str, requests: Sequence[bytes], rate: float) -> tuple[list[float], list[bytes]]:
    """Seconds of each call from the moment at which it was due, and the answers' bodies.

    `rate` calls a second are sent, evenly.
    """
    gc.disable()  # a pause of ours would count as one of the service
    try:
        return asyncio.run(_run(address, requests, rate))
    finally:
        gc.enable()


async def _run(
    address: str, requests: Sequence[bytes], rate: float
) -> tuple[list[float], list[bytes]]:
    lines = _Lines(address)
    begins = time.perf_counter() + 0.2
    calls = [
        asyncio.create_task(_call(lines, text, begins + k / rate))
        for k, text in enumerate(requests)
    ]
    try:
        answers = await asyncio.gather(*calls)
    finally:
        lines.close()
    return [seconds for seconds, _ in answers], [body for _, body in answers]


async def _call(lines: _Lines, text: bytes, due: float) -> tuple[float, bytes]:
    await asyncio.sleep(due - time.perf_counter())
    line = await lines.take()
    line[1].write(text)
    head = await line[0].readuntil(b"\r\n\r\n")
    found = _LENGTH.search(head)
    body = await line[0].readexactly(int(found[1]) if found else 0)
    seconds = time.perf_counter() - due
    lines.give_back(line)
    status = int(head[9:12])
    assert status < 300, (status, body)
    return seconds, body


Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Lines:
    """Connections that are kept open; a new one where none is free."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._free: list[Line] = []
        self._all: list[Line] = []
        self._room = asyncio.Semaphore(MOST_LINES)

    async def take(self) -> Line:
        await self._room.acquire()
        while self._free:
            line = self._free.pop()
            if not line[0].at_eof():  # the service closes what is idle for some seconds
                return line
        line = await asyncio.open_connection(self._host, self._port)
        self._all.append(line)
        return line

    def give_back(self, line: Line) -> None:
        self._free.append(line)
        self._room.release()

    def close(self) -> None:
        for _, writer in self._all:
            writer.close()
