"""One machine: an embedded Valkey, the API and the workers as supervised child processes."""

import http.client
import os
import signal
import socket as sockets
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import redis

from app.children import start_child
from app.command_line import check_redis
from app.first_key import give_first_key
from app.supervisor import Supervisor
from app.valkey import MAX_SOCKET_PATH, launch_valkey, start_valkey, valkey_url
from workers.files import DataFolder, write_json
from workers.jobs import Lane
from workers.registry import worker_name
from workers.settings import Settings
from workers.store import open_store

#: How often the children are looked at, in seconds.
CHECK_SECONDS = 0.2
#: Longest stop of each part, in seconds; together under 45.
STOP_API_SECONDS, STOP_WORKERS_SECONDS, STOP_VALKEY_SECONDS = 6.0, 31.0, 6.0
#: A client that takes no byte of what was sent to it for so long has its connection ended.
UNTAKEN_MS = 120_000
#: A running service's address and process, in its data folder.
SERVICE_FILE = "service.json"
#: Addresses that mean all of this machine's, and the one among them that is always there.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound here
#: In the runtime folder of a data folder.
VALKEY_SOCKET = "valkey.sock"


class CannotServe(Exception):
    """The service cannot be started as asked."""


def serve(
    settings: Settings, *, port: int, say: Callable[[str], None], first_key: bool = True
) -> None:
    """Run the whole service until SIGINT, SIGTERM or SIGHUP; a second signal ends it at once.

    Args:
        settings: a `redis_url` of None starts an embedded Valkey.
        port: where the API listens, 0 for any free port.
        say: told every change of state in one line.
        first_key: make a key where there is none, and say it.

    Raises:
        FolderLocked: another service holds the data folder.
        CannotServe, NotStarted, ChildKeepsDying, UnsafeRedis: with the reason.
    """
    data = DataFolder(settings.data)
    with data.lock(), closing(bind(settings.host, port)) as listener:
        service = Service(settings, listener, say)
        if settings.auth and first_key:
            give_first_key(data, service.local_url, say)
        service.run(stop_event())


class Service:
    """The parts of one running service."""

    def __init__(
        self, settings: Settings, listener: sockets.socket, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._say = say
        self._children = Supervisor(say)
        self._logs = settings.data / "logs"
        host, port = listener.getsockname()[:2]
        self._address = (host, port)
        self.url = _url(host, port)
        #: The same for this machine's own programs.
        self.local_url = _url(EVERYWHERE.get(host, host), port)

    def run(self, stop: threading.Event) -> None:
        """Start everything, keep it running until `stop` is set, end it in order."""
        self._say(f"data folder {self._settings.data}, logs in {self._logs}")
        try:
            self._start()
            self._watch_until_ready(stop)
            while not stop.wait(CHECK_SECONDS):
                self._children.check()
            self._stop()
        finally:
            self._children.kill()
            (self._settings.data / SERVICE_FILE).unlink(missing_ok=True)

    def _start(self) -> None:
        if self._settings.redis_url is None:
            self._start_valkey()
        else:
            check_redis(self._settings, self._say)
        fd = self._listener.fileno()
        self._add("api", "--fd", str(fd), pass_fds=(fd,))
        for lane in Lane:
            release = partial(self._release_leases, lane)
            self._add(f"worker-{lane}", "--lane", lane, on_death=release)

    def _start_valkey(self) -> None:
        socket = runtime_folder(self._settings.data) / VALKEY_SOCKET
        log = self._logs / "valkey.log"
        folder = self._settings.data / "valkey"
        process = start_valkey(folder, socket, log=log)
        again = partial(launch_valkey, folder, socket, log=log)
        self._children.add("valkey", process, again, log=log)
        self._settings = self._settings.model_copy(update={"redis_url": valkey_url(socket)})
        open_store(self._settings).release_all()  # no worker outlived the last supervisor

    def _add(
        self,
        name: str,
        *options: str,
        pass_fds: tuple[int, ...] = (),
        on_death: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        log = self._logs / f"{name}.log"
        command = [sys.executable, "-m", "app.cli", name.partition("-")[0], *options]
        start = partial(start_child, command, log=log, env=self._environment(), pass_fds=pass_fds)
        self._children.add(name, start(), start, log=log, on_death=on_death)

    def _release_leases(self, lane: Lane, pid: int) -> None:
        """What a dead worker held waits no longer for its lease to run out."""
        try:
            open_store(self._settings).release(worker_name(lane, pid))
        except redis.RedisError as error:
            self._say(f"the leases of worker-{lane} run out by themselves: {error}")

    def _environment(self) -> dict[str, str]:
        assert self._settings.redis_url is not None, "Valkey is started first"
        return os.environ | {
            "CCD_DATA": str(self._settings.data),
            "CCD_REDIS_URL": self._settings.redis_url,
        }

    def _watch_until_ready(self, stop: threading.Event) -> None:
        while not is_ready(*self._address):
            if stop.wait(CHECK_SECONDS):
                return
            self._children.check()
            self._children.check_early_deaths()
        written = {"url": self.local_url, "pid": os.getpid()}
        write_json(self._settings.data / SERVICE_FILE, written)
        self._say(f"ready at {self.url}")

    def _stop(self) -> None:
        self._say("stopping; once more Ctrl-C ends everything at once")
        self._children.stop(["api"], seconds=STOP_API_SECONDS)
        self._children.stop([f"worker-{lane}" for lane in Lane], seconds=STOP_WORKERS_SECONDS)
        self._children.stop(["valkey"], seconds=STOP_VALKEY_SECONDS)
        with suppress(OSError):  # there is none, or something else is in it
            _runtime_place(self._settings.data).rmdir()


def stop_event() -> threading.Event:
    """An event set by the first SIGINT, SIGTERM or SIGHUP; the second raises KeyboardInterrupt."""
    event = threading.Event()

    def note(_signal: int, _frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    return event


def bind(host: str, port: int) -> sockets.socket:
    """A listening socket; it outlives the API, so that one started again takes over its callers."""
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    listener = sockets.socket(family, sockets.SOCK_STREAM)
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
    if hasattr(sockets, "TCP_USER_TIMEOUT"):  # Linux; its connections have it from the listener
        listener.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT, UNTAKEN_MS)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        reason = f"cannot listen on {host} port {port}: {error.strerror}"
        raise CannotServe(f"{reason}; name another with --host or --port") from error
    return listener


def is_ready(host: str, port: int) -> bool:
    """Whether the API says that it can do its work."""
    connection = http.client.HTTPConnection(EVERYWHERE.get(host, host), port, timeout=1)
    with closing(connection):
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def redis_url_of(settings: Settings) -> str | None:
    """The Redis that is named, else the Valkey of a `ccd serve` that runs on the data folder.

    Raises:
        CannotServe: the folder where its socket would be is not private.
    """
    if settings.redis_url is not None:
        return settings.redis_url
    if not _runtime_place(settings.data).exists():
        return None
    socket = runtime_folder(settings.data) / VALKEY_SOCKET
    return valkey_url(socket) if socket.exists() else None


def runtime_folder(data: Path) -> Path:
    """A private folder with a short path, always the same one for a data folder."""
    folder = _runtime_place(data)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise CannotServe(f"{folder} is not private to this user; remove it")
    return folder


def _runtime_place(data: Path) -> Path:
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    name = f"ccd-{os.getuid()}-{sha256(os.fsencode(data.resolve())).hexdigest()[:16]}"
    if len(str(base / name / VALKEY_SOCKET).encode()) > MAX_SOCKET_PATH:
        base = Path("/tmp")  # noqa: S108 - the folder is checked below
    return base / name
