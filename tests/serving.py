"""The service for tests: a whole `ccd serve` as a process, or its API in a thread of this one."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
import psutil

from app.main import create_app
from app.server import Server, config_of
from workers.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def wait_until(fact, seconds=40):
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def survivors(processes, seconds=10):
    """Those that still run after a while; one that init has yet to bury does not run."""
    alive = psutil.wait_procs(processes, timeout=0)[1]
    deadline = time.monotonic() + seconds
    while (alive := [one for one in alive if _runs(one)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _runs(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Serve:
    """One `ccd serve` and what it said."""

    def __init__(self, data, *options, env=None):
        self.data = data
        self.said = data.parent / f"{data.name}-{len(list(data.parent.iterdir()))}.txt"
        command = [sys.executable, "-m", "app.cli", "serve", "--data", data, *options]
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | (env or {}),
                start_new_session=True,
            )

    @property
    def lines(self):
        return self.said.read_text().splitlines()

    @property
    def family(self):
        """Every process that it started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def pid(self, part):
        """The process of a part, as last told."""
        told = [line for line in self.lines if line.startswith(f"{part} started, process ")]
        return int(told[-1].rpartition(" ")[2])

    def wait_until_ready(self):
        wait_until(lambda: self.process.poll() is not None or self.url())
        assert self.process.poll() is None, self.said.read_text()
        return self

    def url(self):
        ready = [line for line in self.lines if line.startswith("ready at ")]
        return ready[-1].removeprefix("ready at ") if ready else None

    def status(self, path="/readyz"):
        """The status of an answer, None without one."""
        connection = HTTPConnection(urlsplit(self.url()).netloc, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def post(self, path, body):
        """The status of the answer to a JSON body."""
        connection = HTTPConnection(urlsplit(self.url()).netloc, timeout=10)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        status = connection.getresponse().status
        connection.close()
        return status

    def end(self):
        """Kill it and all that it started."""
        if self.process.poll() is None:
            family = self.family
            self.process.kill()
            survivors(family)
        self.process.wait()


class RunningServer:
    """uvicorn in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.server = Server(
            config_of(
                create_app(settings), grace_seconds=2, trusted_proxies=settings.trusted_proxies
            )
        )
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True
        )

    def __enter__(self) -> Self:
        self.thread.start()
        # A request waits in the listener's backlog until the server takes it.
        httpx.get(f"{self.url}/livez", timeout=20).raise_for_status()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.listener.close()
