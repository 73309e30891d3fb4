"""Kills a random part of a real service every few seconds; no job may come to harm.

`python -m benchmarks.chaos` ends with 0 if every job that was sent succeeded, with the labels of a
service that nobody disturbed, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from app.children import start_child, stop_child, tail
from app.standalone import SERVICE_FILE, redis_url_of
from demo.world import CLASSES, write_world
from workers.files import DataFolder, read_json
from workers.settings import Settings
from workers.stages import Stage
from workers.stats import read_stats
from workers.store import open_store

IMAGES = 40
#: Jobs that wait for each other at a time; each has a seed of its own and so labels of its own.
JOBS_AT_ONCE = 2
#: Small, so that no unit is over in a blink and there are several of each kind.
CONFIG = {"warm_up_epochs": 1, "train_epochs": 2, "batch_size": 8, "teacher_batch": 2}

#: How an operator would set a service whose processes are killed all the time. Short leases find
#: lost work at once. The cap on attempts tells a unit that kills its worker from bad luck; here
#: every death is bad luck, so it must never be reached.
SETTINGS = {
    "CCD_MAX_ATTEMPTS": "100",
    "CCD_BACKOFF_SECONDS": "0.1",
    "CCD_LEASE_SECONDS": "4",
    "CCD_HEARTBEAT_SECONDS": "0.1",
    "CCD_REAP_SECONDS": "0.3",
    "CCD_THREADS": "1",
    "CCD_SHARD_IMAGES": "10",
}
#: What is killed: name -> the words that tell its command line from the others'.
TARGETS = {
    "worker": ["-m celery"],
    "worker child": ["spawn_main", "pipe_handle"],
    "API": ["app.cli api"],
    "Valkey": ["valkey-server"],
}
#: Wait between two kills, in seconds.
PAUSE = (2.0, 6.0)
#: How long the service may take to start, and, after the last kill, for anything it is asked.
START_SECONDS, FINISH_SECONDS = 120.0, 600.0

Labels = dict[Stage, bytes]


class Harm(Exception):
    """A job did not come to the end that it would have come to."""


@dataclass
class Report:
    """What happened."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    #: How attempts at units ended -> how many did.
    attempts: Counter[str] = field(default_factory=Counter)
    #: From the first job to the last result.
    seconds: float = 0.0
    #: From the last kill to the last result.
    seconds_to_finish: float = 0.0

    def __str__(self) -> str:
        kills = ", ".join(f"{name} {self.kills[name]}" for name in TARGETS)
        attempts = ", ".join(f"{count} {how}" for how, count in sorted(self.attempts.items()))
        return (
            f"seed {self.seed}: {self.kills.total()} kills ({kills}); {self.jobs} jobs, all "
            f"succeeded with equal labels; attempts at units: {attempts}; "
            f"{self.seconds:.0f} s, {self.seconds_to_finish:.0f} s of them after the last kill"
        )


class Service:
    """A `ccd serve`, seen from outside; it may be away at any moment."""

    def __init__(self, data: Path, scenes: Path, options: Mapping[str, str]) -> None:
        self.data, self.scenes = data, scenes
        self._log = data.parent / f"{data.name}.log"
        #: When a part of it was killed last.
        self.disturbed_at = time.monotonic()
        command = [sys.executable, "-m", "app.cli", "serve", "--data", data, "--port", "0"]
        command.append("--no-auth")
        self.process = start_child(
            [*command, "--allow", scenes], log=self._log, env=os.environ | options
        )
        self._client = httpx.Client(base_url=self._await_url(), timeout=30)

    def _await_url(self) -> str:
        gives_up_at = time.monotonic() + START_SECONDS
        while not (self.data / SERVICE_FILE).exists():
            if self.process.poll() is not None or time.monotonic() > gives_up_at:
                raise Harm(f"the service did not start; the end of its log:\n{tail(self._log)}")
            time.sleep(0.1)
        return str(read_json(self.data / SERVICE_FILE)["url"])

    def close(self) -> None:
        self._client.close()
        stop_child(self.process, seconds=60)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer, of as many tries as that takes."""
        asked_at = time.monotonic()
        while not self._takes_too_long(asked_at):
            with suppress(httpx.TransportError):
                answer = self._client.request(method, path, **options)
                if answer.is_success:
                    return answer
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise Harm(f"{method} {path} was answered {answer.status_code}: {answer.text}")
            time.sleep(0.1)
        raise Harm(f"{method} {path} had no answer; the end of the log:\n{tail(self._log)}")

    def submit(self, seed: int) -> str:
        """The id of a job that was accepted; its images are registered with it."""
        body = {
            "source": {"kind": "folder", "path": str(self.scenes)},
            "classes": list(CLASSES[:6]),
            "preset": "tiny",
            "config": {**CONFIG, "seed": seed},
        }
        return str(self.ask("POST", "/v1/jobs", json=body).json()["id"])

    def finish(self, job_id: str) -> None:
        """Return when the job has succeeded."""
        asked_at = time.monotonic()
        while not (job := self.ask("GET", f"/v1/jobs/{job_id}").json())["terminal"]:
            if self._takes_too_long(asked_at):
                raise Harm(f"{job_id} has not ended, it is in {job['phase']}: {job['progress']}")
            time.sleep(0.2)
        if job["status"] != "succeeded":
            raise Harm(f"{job_id} is {job['status']}: {job['error']}")

    def _takes_too_long(self, since: float) -> bool:
        return time.monotonic() > max(since, self.disturbed_at) + FINISH_SECONDS

    def jobs(self) -> dict[str, int]:
        """Id -> seed of every job there is: a request whose answer was lost may have made one."""
        listed = self.ask("GET", "/v1/jobs", params={"limit": 1000}).json()["data"]
        return {job["id"]: job["config"]["seed"] for job in listed}

    def labels(self, job_id: str) -> Labels:
        """Every stage, as bytes."""
        return {stage: self._stage(job_id, stage) for stage in Stage}

    def _stage(self, job_id: str, stage: Stage) -> bytes:
        return self.ask(
            "GET",
            f"/v1/jobs/{job_id}/labels",
            params={"stage": stage, "views": stage is Stage.LOCAL},
            headers={"Accept": "application/x-ndjson"},
        ).content

    def forget_results(self) -> None:
        """So that the next job has everything to do."""
        folder = DataFolder(self.data)
        for path in folder.phases.iterdir():
            folder.discard(path)

    def attempts(self) -> Counter[str]:
        """How attempts at units ended, by the sums that the service keeps."""
        url = redis_url_of(Settings(data=self.data))
        counted: Counter[str] = Counter()
        for (_, how), count in read_stats(
            open_store(Settings(data=self.data, redis_url=url))
        ).attempts.items():
            counted[how] += count
        return counted


class Killer:
    """Kills a part of a service, waits, and kills again, for so many seconds, in its own thread.

    The seed decides the waits and the order of targets; what a kill interrupts is up to the moment.
    """

    def __init__(
        self, service: Service, *, seed: int, seconds: float, pause: tuple[float, float]
    ) -> None:
        self._service, self._seconds, self._pause = service, seconds, pause
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)
        self.kills: Counter[str] = Counter()
        self._error: Exception | None = None
        self._log = service.data.parent / "kills.txt"

    @property
    def is_at_work(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._await_targets()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise Harm(f"the kills ended early: {self._error!r}") from self._error

    def _await_targets(self) -> None:
        """Every target is there once, or none of its kind would ever be killed."""
        gives_up_at = time.monotonic() + START_SECONDS
        while missing := [name for name in TARGETS if not self._found(name)]:
            if time.monotonic() > gives_up_at:
                raise Harm(f"no process is a {' or a '.join(missing)} by its command line")
            time.sleep(0.1)

    def _run(self) -> None:
        try:
            self._kill_on()
        except Exception as error:  # noqa: BLE001 - told by `__exit__`, in the thread that waits
            self._error = error

    def _kill_on(self) -> None:
        ends_at = time.monotonic() + self._seconds
        while not self._over.wait(self._random.uniform(*self._pause)):
            if time.monotonic() > ends_at:
                return
            targets = list(TARGETS)
            self._random.shuffle(targets)
            killed = next(filter(self._kill, targets), None)
            if killed:
                self.kills[killed] += 1
                self._service.disturbed_at = time.monotonic()

    def _kill(self, target: str) -> bool:
        """Whether there was one to kill."""
        found = self._found(target)
        if not found:
            return False
        victim = self._random.choice(found)
        with suppress(psutil.NoSuchProcess):
            victim.kill()
            with self._log.open("a") as log:
                log.write(f"{datetime.now(UTC).isoformat()} {target} {victim.pid}\n")
            return True
        return False

    def _found(self, target: str) -> list[psutil.Process]:
        family = psutil.Process(self._service.process.pid).children(recursive=True)
        return [one for one in family if _is(one, TARGETS[target])]


def _is(process: psutil.Process, words: Sequence[str]) -> bool:
    try:
        line = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    return all(word in line for word in words)


def main() -> None:
    """Command line: `python -m benchmarks.chaos`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--pause", type=float, nargs=2, default=PAUSE, metavar=("FROM", "TO"))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="ccd-chaos-"))
    seconds, pause = 60 * arguments.minutes, (arguments.pause[0], arguments.pause[1])
    try:
        told = run(folder, seed=arguments.seed, seconds=seconds, pause=pause)
    except Harm as harm:
        sys.exit(f"seed {arguments.seed}: {harm}\ndata and logs are kept in {folder}")
    shutil.rmtree(folder)
    print(told)


def run(folder: Path, *, seed: int, seconds: float, pause: tuple[float, float] = PAUSE) -> Report:
    """Send jobs for so many seconds while parts of the service are killed.

    Raises:
        Harm: a job failed, did not end, or has other labels than without the kills.
    """
    scenes = folder / "scenes"
    write_world(scenes, count=IMAGES, seed=7)
    (scenes / "truth.json").unlink()
    with _service(folder / "undisturbed", scenes) as service:
        ids = {service.submit(number): number for number in range(JOBS_AT_ONCE)}
        for job_id in ids:
            service.finish(job_id)
        golden = {number: service.labels(job_id) for job_id, number in ids.items()}
    with _service(folder / "disturbed", scenes) as service:
        killer = Killer(service, seed=seed, seconds=seconds, pause=pause)
        return _disturb(service, golden, killer, seed)


def _disturb(service: Service, golden: Mapping[int, Labels], killer: Killer, seed: int) -> Report:
    started = time.monotonic()
    seen: set[str] = set()
    with killer:
        while killer.is_at_work:
            _send_and_compare(service, golden, seen)
    ended = time.monotonic()
    return Report(
        seed,
        kills=killer.kills,
        jobs=len(seen),
        attempts=service.attempts(),
        seconds=ended - started,
        seconds_to_finish=ended - service.disturbed_at,
    )


def _send_and_compare(service: Service, golden: Mapping[int, Labels], seen: set[str]) -> None:
    """Some jobs at a time that can reuse nothing of those before."""
    service.forget_results()
    accepted = {service.submit(number) for number in golden}
    if lost := accepted - service.jobs().keys():
        raise Harm(f"accepted, and lost: {sorted(lost)}")
    new = {id: number for id, number in service.jobs().items() if id not in seen}
    for job_id, number in new.items():
        service.finish(job_id)
        labels = service.labels(job_id)
        unequal = [stage for stage in Stage if labels[stage] != golden[number][stage]]
        if unequal:
            raise Harm(f"{job_id} has other labels of the stages {', '.join(unequal)}")
    seen.update(new)


@contextmanager
def _service(data: Path, scenes: Path) -> Iterator[Service]:
    service = Service(data, scenes, SETTINGS)
    try:
        yield service
    finally:
        service.close()


if __name__ == "__main__":
    main()
