"""Thousands of jobs through the API of one process: how fast, and whether all come out."""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from app.callers import Scope
from app.children import stop_child
from app.event_stream import MOST_SEND_SECONDS
from app.keys import KeyStore
from benchmarks.open_loop import request, run
from benchmarks.simulate import MAX_REDIS_BYTES, megabytes, own_valkey, percentile, print_table
from benchmarks.simulation import IDLE
from benchmarks.watchers import Watchers, dropped, lags
from workers.files import DataFolder
from workers.jobs import DEFAULT_PROJECT, Claim, Kind, Lane, Record, Status
from workers.registry import Registry
from workers.settings import NICENESS
from workers.store import Store

#: Clients at a time. One process serves them and this one is all of them, on the same machine.
CLIENTS = 4
JOB = {"classes": ["bus", "dog", "tree"], "preset": "balanced"}
IMAGES = 1000
JOBS, LIST = "/v1/jobs", "/v1/jobs?limit=50"
#: Clients that never read, and events that are more than the kernel keeps for them.
SLOW, LONG_EVENTS = 100, 30
LONG = {"classes": [], "message": "x" * 200_000}
BUSY = """
import os, sys, torch
os.nice(int(sys.argv[1]))
image, kernel = torch.rand(16, 64, 56, 56), torch.rand(64, 64, 3, 3)
while True:
    torch.nn.functional.conv2d(image, kernel)
"""


def main() -> None:
    """Command line: `python -m benchmarks.load`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--projects", type=int, default=50, help="each with a key of its own")
    parser.add_argument("--workers", type=int, default=100, help="that announce themselves")
    parser.add_argument("--seconds", type=int, default=20, help="of each rate")
    parser.add_argument("--watchers", type=int, default=1000)
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with own_valkey() as client, tempfile.TemporaryDirectory() as folder:
        url = str(client.connection_pool.connection_kwargs["path"])
        store = Store(client, lease_seconds=3600)
        announce(store, options.workers)
        with own_api(Path(folder), f"unix://{url}") as service:
            tenants = [new_tenant(service, store, f"project-{n}") for n in range(options.projects)]
            service.cpu_seconds()  # those of its start
            jobs, submits = submit(service.address, tenants, options.jobs)
            used = int(client.info("memory")["used_memory"])
            submit_cpu = service.cpu_seconds() / len(jobs)
            load = Load(service, store, jobs, seconds=options.seconds, watchers=options.watchers)
            quiet = load.measure()
            with busy_worker():
                busy = load.measure()
            slow = load.drop_slow()
        drain(store)
        lost = unfinished(store, [*(job.id for job in jobs), *load.submitted])
    print(f"load average before: {before:.1f}\n")
    head = ("what", "p50 ms", "p99 ms", "aim", "CPU of the API", "beside a worker", "aim")
    print_table([head, *(_row(*rows) for rows in zip(quiet, busy, strict=True))])
    p99 = percentile(submits, 99) * 1000
    print_table(
        [
            ("what", "seen", "aim"),
            ("jobs accepted", f"{len(jobs):,}", f"{options.jobs:,}"),
            (f"p99 of each, {CLIENTS} clients at once", f"{p99:.1f} ms", "200 ms"),
            ("CPU of the API for each", f"{submit_cpu * 1000:.1f} ms", ""),
            ("jobs lost", f"{len(lost):,}", "0"),
            ("Redis with all queued", megabytes(used), megabytes(MAX_REDIS_BYTES)),
            *slow,
        ]
    )


@dataclass(frozen=True)
class Tenant:
    """A project: what it sends with each call, and a dataset that is ready."""

    headers: dict[str, str]
    dataset_id: str

    def job(self) -> dict[str, Any]:
        """The request for a job on its dataset."""
        return {**JOB, "dataset_id": self.dataset_id}


@dataclass(frozen=True)
class Job:
    """An accepted one."""

    id: str
    tenant: Tenant


@dataclass(frozen=True)
class Measured:
    """Calls of one kind at one rate."""

    what: str
    #: Of the 99th percentile, in milliseconds.
    aim: int
    seconds: Sequence[float]
    #: Of the API, for each second that was measured.
    cpu: float


def _row(quiet: Measured, busy: Measured) -> tuple[str, ...]:
    p50, p99, beside = (
        f"{percentile(seconds, part) * 1000:.1f}"
        for seconds, part in ((quiet.seconds, 50), (quiet.seconds, 99), (busy.seconds, 99))
    )
    return (quiet.what, p50, p99, str(quiet.aim), f"{quiet.cpu:.0%}", beside, str(2 * quiet.aim))


class Load:
    """What is asked of a service that holds thousands of jobs: calls that come at their rates."""

    def __init__(
        self,
        service: Service,
        store: Store,
        jobs: Sequence[Job],
        *,
        seconds: int,
        watchers: int,
    ) -> None:
        self._service, self._store, self._jobs = service, store, jobs
        self._tenants = list({job.tenant.dataset_id: job.tenant for job in jobs}.values())
        self._seconds, self._watchers = seconds, watchers
        self._random = random.Random(0)  # noqa: S311 - nothing secret is drawn
        self.submitted: list[str] = []

    def measure(self) -> list[Measured]:
        """Each row of the table."""
        asked = [self._random.choice(self._jobs) for _ in range(300)]
        status = [request("GET", f"{JOBS}/{job.id}", job.tenant.headers) for job in asked]
        lists = [request("GET", LIST, tenant.headers) for tenant in self._tenants]
        submits = [
            request("POST", JOBS, tenant.headers, json.dumps(tenant.job()).encode())
            for tenant in self._tenants
        ]
        return [
            self._at("status of a job, 300 a second", 300, status, 25),
            self._at("list of 50 jobs, 100 a second", 100, lists, 25),
            self._at("submit a job, 100 a second", 100, submits, 50),
            self._watch(),
        ]

    def _at(self, what: str, rate: int, texts: Sequence[bytes], aim: int) -> Measured:
        run(self._service.address, [texts[k % len(texts)] for k in range(rate)], rate)  # warm
        self._service.cpu_seconds()
        calls = [texts[k % len(texts)] for k in range(rate * self._seconds)]
        seconds, bodies = run(self._service.address, calls, rate)
        if texts[0].startswith(b"POST"):
            self.submitted += [str(json.loads(body)["id"]) for body in bodies]
        return Measured(what, aim, seconds, self._service.cpu_seconds() / self._seconds)

    def _watch(self) -> Measured:
        claimed = self._claim()
        watchers = self._watchers_of(claimed)
        self._service.cpu_seconds()
        found = lags(watchers, self._watchers, partial(self._tell, claimed), 2 * self._seconds)
        self._store.complete(claimed, output="", done=IMAGES)
        cpu = self._service.cpu_seconds() / self._seconds
        return Measured(f"an event to {self._watchers:,} watchers, 2 a second", 250, found, cpu)

    def _claim(self) -> Claim:
        held = self._store.claim(Lane.METHOD, worker="hand", nonce=secrets.token_hex(8))
        assert held is not None
        return held

    def _watchers_of(self, claimed: Claim) -> Watchers:
        headers = self._service.headers(claimed.record.project)
        return Watchers(self._service.address, f"{JOBS}/{claimed.record.id}/events", headers)

    def _tell(self, claimed: Claim, k: int) -> int:
        """An event; its number."""
        key = f"ccd:record:{claimed.record.id}"
        self._store.redis.hdel(key, "told_ms")  # progress is told at once
        self._store.renew(claimed, done=k + 1, total=1000)
        return int(str(self._store.redis.hget(key, "seq")))

    def drop_slow(self) -> list[tuple[str, str, str]]:
        """What becomes of clients that never read, while others do; rows of the table."""
        claimed = self._claim()
        watchers = self._watchers_of(claimed)
        slow = [watchers.slow() for _ in range(SLOW)]
        before = self._service.memory()
        facts = {"warnings": [{**LONG, "code": f"long_{k}"} for k in range(LONG_EVENTS)]}
        self._store.complete(claimed, output="", done=IMAGES, facts=facts)
        time.sleep(MOST_SEND_SECONDS + 3)
        grown = self._service.memory() - before
        gone = dropped(slow)
        return [
            ("watchers that never read, dropped", f"{gone} of {SLOW}", f"{SLOW}"),
            ("memory of the API for them", megabytes(grown), "200 MB"),
        ]


@contextmanager
def busy_worker() -> Iterator[None]:
    """A process that computes on all cores, at the priority of a worker."""
    process = subprocess.Popen([sys.executable, "-c", BUSY, str(NICENESS)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


class Service:
    """`ccd api` in a process of its own, and what it costs."""

    def __init__(self, process: int, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self._keys = KeyStore(DataFolder(folder / "data"))
        self._process = psutil.Process(process)
        self._spent = 0.0

    def headers(self, project: str = DEFAULT_PROJECT) -> dict[str, str]:
        """Those of a new key of a project."""
        _, token = self._keys.create("load", [Scope.WRITE], project=project)
        return {"Authorization": f"Bearer {token}"}

    def cpu_seconds(self) -> float:
        """Of the process since it was last asked."""
        times = self._process.cpu_times()
        before, self._spent = self._spent, times.user + times.system
        return self._spent - before

    def memory(self) -> int:
        """Bytes that it has."""
        return int(self._process.memory_info().rss)


@contextmanager
def own_api(folder: Path, redis_url: str) -> Iterator[Service]:
    """A service that has nothing but an API."""
    (folder / "photos").mkdir()
    DataFolder(folder / "data").create()
    listener = socket.create_server(("127.0.0.1", 0))
    environment = os.environ | {
        "CCD_REDIS_URL": redis_url,
        "CCD_DATA": str(folder / "data"),
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
        yield Service(process.pid, f"127.0.0.1:{listener.getsockname()[1]}", folder)
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


def new_tenant(service: Service, store: Store, project: str) -> Tenant:
    """A project with a dataset, which is registered by hand."""
    source = {"kind": "folder", "path": str(service.folder / "photos")}
    headers = service.headers(project)
    with line_to(service.address) as line:
        reply, _ = timed(line, "POST", "/v1/datasets", headers, {"source": source})
    held = store.claim(Lane.IO, worker="hand", nonce=secrets.token_hex(8))
    assert held is not None
    store.complete(held, output="", done=IMAGES)
    return Tenant(headers, str(reply["id"]))


def submit(address: str, tenants: Sequence[Tenant], jobs: int) -> tuple[list[Job], list[float]]:
    """The jobs that were accepted, and the seconds that each took; the tenants take turns."""

    def post(line: HTTPConnection, n: int) -> tuple[Job, float]:
        tenant = tenants[n % len(tenants)]
        reply, seconds = timed(line, "POST", JOBS, tenant.headers, tenant.job())
        return Job(str(reply["id"]), tenant), seconds

    found = _at_once(address, range(jobs), post)
    return [job for job, _ in found], [seconds for _, seconds in found]


def _at_once(
    address: str, numbers: range, call: Callable[[HTTPConnection, int], tuple[Job, float]]
) -> list[tuple[Job, float]]:
    """What the calls answer, made by some clients with a connection each."""

    def client(mine: range) -> list[tuple[Job, float]]:
        with line_to(address) as line:
            return [call(line, n) for n in mine]

    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = pool.map(client, [numbers[k::CLIENTS] for k in range(CLIENTS)])
        return [answer for part in parts for answer in part]


def timed(
    line: HTTPConnection,
    method: str,
    path: str,
    headers: dict[str, str],
    body: object = None,
) -> tuple[dict[str, Any], float]:
    """The answer of a call that succeeds, and the seconds it took."""
    content = None if body is None else json.dumps(body)
    started = time.perf_counter()
    line.request(method, path, content, {"Content-Type": "application/json", **headers})
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
    done = {
        record.id
        for project in store.projects()
        for record in _listed(store, project)
        if record.status is Status.SUCCEEDED
    }
    return set(ids) - done


def _listed(store: Store, project: str) -> Iterator[Record]:
    cursor = None
    while True:
        page, cursor = store.list(Kind.JOB, project=project, limit=1000, cursor=cursor)
        yield from page
        if cursor is None:
            return


if __name__ == "__main__":
    main()
