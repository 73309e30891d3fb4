"""A server that answers as it is told, and a line to a service that breaks."""

import json
import random
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

from ccd_client import Patience

#: Pauses that a test does not notice.
QUICK = Patience(seconds=5, first_pause_seconds=0.001, longest_pause_seconds=0.01)
#: A job as the service shows it.
JOB = {
    "id": "job_1",
    "dataset_id": "ds_1",
    "classes": [{"name": "cat"}],
    "preset": "tiny",
    "status": "queued",
    "terminal": False,
}


@dataclass(frozen=True)
class Answer:
    """What the scripted server says; cut off after `cut` bytes of the body, or before any."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def says(content: object, status: int = 200, **headers: str) -> Answer:
    """A JSON answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(content).encode(), named)


#: The connection is closed without a word.
HANGS_UP = Answer(cut=-1)


class Scripted:
    """Each request takes the next answer; the last one is repeated."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: list[Answer] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                scripted.serve(self)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - its names

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def will(self, *answers: Answer) -> None:
        self._answers = list(answers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(Request(handler.command, handler.path, headers, body))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer.cut == -1:
            return self._hang_up(handler)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if answer.status != 204:
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body[: answer.cut])
        if answer.cut is not None:
            self._hang_up(handler)
        return None

    def _hang_up(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)


class BreakingLine:
    """Passes connections on to a service, and cuts what it answers after at most so many bytes.

    After `cuts` of them it is a good line.
    """

    def __init__(self, url: str, *, most: int, seed: int, cuts: int = 10**9) -> None:
        chance, target = random.Random(seed), urlsplit(url)
        address = (target.hostname, target.port)
        self.cuts = 0
        line = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                left = chance.randint(1, most) if line.cuts < cuts else 10**9
                with socket.create_connection(address) as service, suppress(OSError):
                    up = threading.Thread(target=pump, args=(self.request, service), daemon=True)
                    up.start()
                    while left > 0 and (piece := service.recv(min(left, 65536))):
                        self.request.sendall(piece)
                        left -= len(piece)
                    line.cuts += left == 0
                    service.shutdown(socket.SHUT_RDWR)

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """What comes from one side goes to the other, until one of them ends."""
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
