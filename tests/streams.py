"""Server-sent events as a client reads them, byte by byte if need be."""

import json
import socket
from urllib.parse import urlsplit


class Stream:
    """A GET of server-sent events over a socket of its own; `with` closes it."""

    def __init__(self, url, last_event_id=None, seconds=20, headers=None):
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=seconds)
        again = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        more = "".join(
            f"{name}: {value}\r\n" for name, value in {**again, **(headers or {})}.items()
        )
        request = (
            f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Accept: text/event-stream\r\n{more}\r\n"
        )
        self._socket.sendall(request.encode())
        self._raw = b""
        self._text = b""
        head = self._until(b"\r\n\r\n").decode().split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in head[1:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def blocks(self, cut=None):
        """The blocks of text between empty lines; until the end, or until `cut` bytes came."""
        for data in self._chunks(cut):
            self._text += data
            *whole, self._text = self._text.split(b"\n\n")
            yield from (block.decode() for block in whole)

    def events(self, cut=None):
        """(id or None, event) of each block that has one."""
        for block in self.blocks(cut):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line[0] != ":")
            if "data" in fields:
                event = json.loads(fields["data"])
                assert event["type"] == fields["event"]
                yield fields.get("id"), event

    def _chunks(self, cut):
        """The body, which comes in chunks; the connection is lost after `cut` bytes of it."""
        left = cut
        while size := int(self._until(b"\r\n"), 16):
            data = self._take(size)
            if left is not None and len(data) >= left:
                self._socket.close()
                yield data[:left]
                return
            left = None if left is None else left - len(data)
            self._take(2)
            yield data

    def _until(self, end):
        while end not in self._raw:
            self._receive()
        found, _, self._raw = self._raw.partition(end)
        return found

    def _take(self, size):
        while len(self._raw) < size:
            self._receive()
        found, self._raw = self._raw[:size], self._raw[size:]
        return found

    def _receive(self):
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the stream was closed without its end")
        self._raw += data
