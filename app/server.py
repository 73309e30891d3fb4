"""uvicorn as this service runs it: heads of requests have a cap, endless answers are ended."""

import gc
import secrets
import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import Problem, problem_response

#: Seconds that calls in hand have to finish when the server stops.
GRACE_SECONDS = 4
#: Target and headers of a request together; nothing that this service has use for comes near.
MAX_HEAD_BYTES = 1 << 16
#: New objects after which the garbage collector looks through the young ones. With Python's 700
#: much of what an answer needs for a moment counts as old soon, and each look through the old ones,
#: of which a thousand streams have many, holds every call up.
YOUNG_OBJECTS = 20_000


class _HeadTooLarge(Exception):
    """The parser is to stop here."""


class Protocol(HttpToolsProtocol):
    """Reads requests whose heads have an end, and answers those it cannot read with a problem."""

    #: Whether the next byte belongs to a head, how many bytes of it came, and of whole parts of it.
    _is_in_head, _unfinished, _head = True, 0, 0
    _heads = 0
    _is_too_large = False

    def data_received(self, data: bytes) -> None:
        was_in_head, heads = self._is_in_head, self._heads
        super().data_received(data)
        # The parser tells of a header when it is whole: one without end shows here alone.
        if was_in_head and heads == self._heads and not self.transport.is_closing():
            self._unfinished += len(data)
            if self._unfinished > MAX_HEAD_BYTES:
                self._is_too_large = True
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._is_in_head, self._unfinished = False, 0
        self._heads += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_head = True

    def send_400_response(self, msg: str) -> None:
        """Answer and hang up; `msg` is what the parser has to say."""
        problem = Problem("malformed_request", msg.rstrip("."))
        if self._is_too_large:
            problem = Problem("head_too_large", f"more than {MAX_HEAD_BYTES:,} bytes came")
        request_id = f"req_{secrets.token_hex(8)}"
        answer = problem_response(problem, request_id)
        headers = [*answer.raw_headers, (b"x-request-id", request_id.encode())]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        head = STATUS_LINE[answer.status_code] + b"".join(lines)
        self.transport.write(head + b"connection: close\r\n\r\n" + bytes(answer.body))
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD_BYTES:
            self._is_too_large = True
            raise _HeadTooLarge


class Server(uvicorn.Server):
    """Tells those who watch jobs to go before it waits for the last answer."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What lives as long as the process is not looked through again: a collection of all those
        # objects would hold every call up for tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services = getattr(getattr(self.config.app, "state", None), "services", None)
        if services is not None:  # it may have failed while it started
            services.hub.end()
        await super().shutdown(sockets)


def config_of(
    app: FastAPI, *, grace_seconds: int = GRACE_SECONDS, trusted_proxies: Sequence[str] = ()
) -> uvicorn.Config:
    """The log is ours alone; who calls is what the network tells, but for proxies that are named.

    uvicorn itself would believe whoever comes from this machine.
    """
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=grace_seconds,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
    )
