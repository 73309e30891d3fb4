"""A TCP proxy that can fall silent: connections stay open, nothing comes through, nothing is said.

A cable that is pulled looks like this to both ends: no FIN, no RST.
"""

import socket
import threading
import time
from contextlib import suppress
from typing import Self


class BlackHole:
    """Between clients and a server on a unix socket; `url` is where clients find it.

    Args:
        target: path of the server's socket.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        #: How long every piece of data is held up, in seconds.
        self.latency = 0.0
        self._lets_requests, self._lets_answers = threading.Event(), threading.Event()
        self._sockets: list[socket.socket] = []
        self._lost: set[socket.socket] = set()
        self.heal()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def fall_silent(self, *, only_answers: bool = False) -> None:
        """Hold everything back, or let requests through and hold their answers back."""
        self._lets_answers.clear()
        if not only_answers:
            self._lets_requests.clear()

    def heal(self, *, forget: bool = False) -> None:
        """Deliver what was held back; or, to `forget`, let only new connections come through."""
        if forget:
            self._lost.update(self._sockets)
        self._lets_requests.set()
        self._lets_answers.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._sockets += [client, server]
                try:
                    server.connect(self._target)
                except OSError:  # nobody is there: the client is told so, as without a proxy
                    client.close()
                    continue
                for pair in (
                    (client, server, self._lets_requests),
                    (server, client, self._lets_answers),
                ):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, gate: threading.Event) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                gate.wait()
                time.sleep(self.latency)
                if source in self._lost:
                    return  # neither a byte nor an end
                sink.sendall(piece)
            gate.wait()
            if source not in self._lost:
                sink.shutdown(socket.SHUT_WR)
