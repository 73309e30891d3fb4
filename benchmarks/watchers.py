"""A thousand clients that watch a job, some of whom never read."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from contextlib import closing

from benchmarks.open_loop import request

_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)
#: What the kernel keeps for a client that does not read, in bytes: as little as it grants.
SLOW_BUFFER = 4096


class Watchers:
    """Clients on one job; when each event reached each of them."""

    def __init__(self, address: str, path: str, headers: dict[str, str]) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._text = request("GET", path, {"Accept": "text/event-stream", **headers})
        #: Event -> when it came, by the clock `time.time`.
        self.came: dict[int, list[float]] = {}
        self.begun = 0

    async def follow(self) -> None:
        """One client, until it is cancelled or the stream ends."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(self._text)
        rest = b""
        try:
            while data := await reader.read(1 << 16):
                now = time.time()
                rest += data
                *blocks, rest = rest.split(b"\n\n")
                for block in blocks:
                    found = _ID.search(block)
                    if found and b"job.snapshot" not in block:
                        self.came.setdefault(int(found[1]), []).append(now)
                    self.begun += b"job.snapshot" in block
        finally:
            writer.close()

    def slow(self) -> socket.socket:
        """A client that asks, is answered, and never reads."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
        client.connect((self._host, self._port))
        client.sendall(self._text)
        client.recv(1, socket.MSG_PEEK)
        return client


def lags(watchers: Watchers, clients: int, tell: Callable[[int], int], events: int) -> list[float]:
    """Seconds from each of some events to each client; `tell` makes one, and says its number."""
    return asyncio.run(_lags(watchers, clients, tell, events))


async def _lags(
    watchers: Watchers, clients: int, tell: Callable[[int], int], events: int
) -> list[float]:
    following = [asyncio.create_task(watchers.follow()) for _ in range(clients)]
    await _until(lambda: watchers.begun == clients)
    told: dict[int, float] = {}
    for k in range(events):
        before = time.time()
        told[await asyncio.to_thread(tell, k)] = before
        await asyncio.sleep(0.5)
    await _until(lambda: all(len(watchers.came.get(seq, ())) == clients for seq in told))
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    return [came - before for seq, before in told.items() for came in watchers.came[seq]]


async def _until(fact: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


def dropped(clients: list[socket.socket]) -> int:
    """How many were closed by the service; what was sent to them before is read now."""
    return sum(_is_closed(client) for client in clients)


def _is_closed(client: socket.socket) -> bool:
    with closing(client):
        client.settimeout(1)
        try:
            while client.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True
