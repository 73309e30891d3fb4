"""Thousands of jobs through the API of one process: how fast, and whether all come out."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from app.children import stop_child
from benchmarks.simulate import MAX_REDIS_BYTES, megabytes, own_valkey, percentile, print_table
from benchmarks.simulation import IDLE
from workers.jobs import Kind, Lane, Status
from workers.registry import Registry
from workers.store import Store

#: Clients at a time. One process serves them and this one is all of them, on the same machine.
CLIENTS = 4
JOB = {"classes": ["bus", "dog", "tree"], "preset": "balanced"}
IMAGES = 1000


def main() -> None:
    """Command line: `python -m benchmarks.load`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--submitters", type=int, default=50)
    parser.add_argument("--workers", type=int, default=100, help="that announce themselves")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with own_valkey() as client, tempfile.TemporaryDirectory() as folder:
        url = str(client.connection_pool.connection_kwargs["path"])
        store = Store(client, lease_seconds=3600)
        announce(store, options.workers)
        with own_api(Path(folder), f"unix://{url}") as service:
            dataset_id = ready_dataset(service.address, store, Path(folder))
            service.cpu_seconds()  # those of its start
            ids, submits = submit(service.address, dataset_id, options.jobs, options.submitters)
            used = int(client.info("memory")["used_memory"])
            submit_cpu = service.cpu_seconds() / len(ids)
            lists = read(service.address, ["/v1/jobs?limit=100"] * 200)
            list_cpu = service.cpu_seconds() / len(lists)
            gets = read(service.address, [f"/v1/jobs/{id}" for id in ids[::25]])
            get_cpu = service.cpu_seconds() / len(gets)
        drain(store)
        lost = unfinished(store, ids)
    print(f"load average before: {before:.1f}\n")
    print_table(
        [
            ("what", "p50 ms", "p99 ms", "most ms", "aim of p99", "CPU of the API, ms"),
            _row(f"submit a job, {CLIENTS} clients at once", submits, "200 ms", submit_cpu),
            _row("list 100 jobs", lists, "100 ms", list_cpu),
            _row("get a job", gets, "", get_cpu),
        ]
    )
    print_table(
        [
            ("what", "seen", "aim"),
            ("jobs accepted", f"{len(ids):,}", f"{options.jobs:,}"),
            ("jobs lost", f"{len(lost):,}", "0"),
            ("Redis with all queued", megabytes(used), megabytes(MAX_REDIS_BYTES)),
        ]
    )


def _row(what: str, seconds: Sequence[float], aim: str, cpu: float) -> tuple[str, ...]:
    values = (percentile(seconds, 50), percentile(seconds, 99), max(seconds))
    shown = [f"{value * 1000:.1f}" for value in values]
    return (what, *shown, aim, f"{cpu * 1000:.1f}")


class Service:
    """`ccd api` in a process of its own, and what it costs."""

    def __init__(self, process: int, address: str) -> None:
        self.address = address
        self._process = psutil.Process(process)
        self._spent = 0.0

    def cpu_seconds(self) -> float:
        """Of the process since it was last asked."""
        times = self._process.cpu_times()
        before, self._spent = self._spent, times.user + times.system
        return self._spent - before


@contextmanager
def own_api(folder: Path, redis_url: str) -> Iterator[Service]:
    """A service that has nothing but an API."""
    (folder / "photos").mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    environment = os.environ | {
        "CCD_REDIS_URL": redis_url,
        "CCD_DATA": str(folder / "data"),
        "CCD_AUTH": "false",
        "CCD_ALLOWED_ROOTS": str(folder / "photos"),
    }
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "api", "--fd", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield Service(process.pid, f"127.0.0.1:{listener.getsockname()[1]}")
    finally:
        stop_child(process, seconds=10)
        listener.close()


def announce(store: Store, workers: int) -> None:
    """Workers that are there and have measured their speed."""
    for n in range(workers):
        Registry(store).announce(replace(IDLE, name=f"method-{n}@simulated:1"))


def line_to(address: str) -> closing[HTTPConnection]:
    """A connection for many calls, closed at the end."""
    return closing(HTTPConnection(address, timeout=60))


def read(address: str, paths: Sequence[str]) -> list[float]:
    """Seconds of each call, one after another."""
    with line_to(address) as line:
        return [timed(line, "GET", path)[1] for path in paths]


def ready_dataset(address: str, store: Store, folder: Path) -> str:
    """Its id; a folder is registered by hand."""
    source = {"kind": "folder", "path": str(folder / "photos")}
    with line_to(address) as line:
        reply, _ = timed(line, "POST", "/v1/datasets", {"source": source})
    held = store.claim(Lane.IO, worker="hand", nonce=secrets.token_hex(8))
    assert held is not None
    store.complete(held, output="", done=IMAGES)
    return str(reply["id"])


def submit(
    address: str, dataset_id: str, jobs: int, submitters: int
) -> tuple[list[str], list[float]]:
    """Ids of the jobs that were accepted, and the seconds that each took."""
    body = {**JOB, "dataset_id": dataset_id}

    def post(line: HTTPConnection, n: int) -> tuple[str, float]:
        headers = {"X-Submitter": f"user-{n % submitters}"}
        reply, seconds = timed(line, "POST", "/v1/jobs", body, headers)
        return str(reply["id"]), seconds

    found = _at_once(address, range(jobs), post)
    return [id for id, _ in found], [seconds for _, seconds in found]


def _at_once(
    address: str, numbers: range, call: Callable[[HTTPConnection, int], tuple[str, float]]
) -> list[tuple[str, float]]:
    """What the calls answer, made by some clients with a connection each."""

    def client(mine: range) -> list[tuple[str, float]]:
        with line_to(address) as line:
            return [call(line, n) for n in mine]

    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = pool.map(client, [numbers[k::CLIENTS] for k in range(CLIENTS)])
        return [answer for part in parts for answer in part]


def timed(
    line: HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> tuple[dict[str, Any], float]:
    """The answer of a call that succeeds, and the seconds it took."""
    content = None if body is None else json.dumps(body)
    started = time.perf_counter()
    line.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
    answer = line.getresponse()
    text = answer.read()
    seconds = time.perf_counter() - started
    assert answer.status < 300, text
    return json.loads(text), seconds


def drain(store: Store) -> None:
    """Do everything there is, as a worker that needs no time."""
    while held := store.claim(Lane.METHOD, worker="hand", nonce=secrets.token_hex(8)):
        store.complete(held, output="", done=IMAGES)


def unfinished(store: Store, ids: Sequence[str]) -> set[str]:
    """Those that have not succeeded, or that the list does not have."""
    done: set[str] = set()
    cursor = None
    while True:
        page, cursor = store.list(Kind.JOB, limit=1000, cursor=cursor)
        done |= {record.id for record in page if record.status is Status.SUCCEEDED}
        if cursor is None:
            return set(ids) - done


if __name__ == "__main__":
    main()
