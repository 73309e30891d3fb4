"""A real `ccd serve` for tests: Valkey, API and workers as its child processes."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

#: Everything that waits is short, so that what is lost is found again within seconds.
QUICK = {
    "CCD_LEASE_SECONDS": "4",
    "CCD_HEARTBEAT_SECONDS": "0.1",
    "CCD_REAP_SECONDS": "0.3",
    "CCD_BACKOFF_SECONDS": "0.1",
    "CCD_THREADS": "1",
    "CCD_SHARD_IMAGES": "40",
    "OMP_NUM_THREADS": "1",
}
LONGEST_WAIT = 150.0


class Service:
    """`ccd serve` on a free port, and what a test wants to ask of it or do to it."""

    def __init__(self, data: Path, allowed: Path) -> None:
        self.data, self._allowed = data, allowed
        self.client = httpx.Client(timeout=30)
        self.start()

    def start(self) -> None:
        """Start it, or start it again after it was killed, and wait until it is ready."""
        file = self.data / "service.json"
        file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "app.cli", "serve", "--data", str(self.data)]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--allow", str(self._allowed)],
            env=os.environ | QUICK,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._drain, args=[self.process], daemon=True).start()
        wait_until(file.exists, "service.json")
        self.client.base_url = httpx.URL(json.loads(file.read_text())["url"])

    @staticmethod
    def _drain(process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for _ in process.stdout:
            pass

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def family(self) -> list[psutil.Process]:
        """Every process below the supervisor."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def named(self, *words: str) -> psutil.Process:
        """The first process below the supervisor whose command line has all these words."""
        return next(
            process
            for process in self.family()
            if all(any(word in part for part in process.cmdline()) for word in words)
        )

    def worker(self, lane: str = "method") -> psutil.Process:
        """The main process of a lane's worker."""
        return self.named("celery", f"{lane}-")

    def worker_child(self, lane: str = "method") -> psutil.Process:
        """The process that runs a lane's units."""
        children = self.worker(lane).children()
        return next(child for child in children if "spawn_main" in " ".join(child.cmdline()))

    def get(self, path: str, **params: Any) -> Any:
        """The JSON answer to a GET that must succeed."""
        answer = self.client.get(path, params=params)
        assert answer.is_success, answer.text
        return answer.json()

    def submit(self, **body: Any) -> str:
        """The id of a new job."""
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["id"])

    def wait_for(self, job_id: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The job as soon as `reached` holds of it; calls that fail meanwhile are made again."""
        seen: dict[str, Any] = {}

        def look() -> bool:
            try:
                answer = self.client.get(f"/v1/jobs/{job_id}")
            except httpx.TransportError:
                return False
            if answer.is_success:
                seen.update(answer.json())
            return bool(seen) and reached(seen)

        wait_until(look, lambda: f"the job to get there; it is {seen}")
        return seen

    def finish(self, job_id: str) -> dict[str, Any]:
        """The job when it is over; it must have succeeded."""
        job = self.wait_for(job_id, lambda job: job["terminal"])
        assert job["status"] == "succeeded", job["error"]
        return job

    def labels(self, job_id: str, stage: str) -> bytes:
        """All rows of a stage as NDJSON."""
        answer = self.client.get(
            f"/v1/jobs/{job_id}/labels",
            params={"stage": stage, "views": stage == "local"},
            headers={"Accept": "application/x-ndjson"},
        )
        assert answer.is_success, answer.text
        return answer.content


@contextmanager
def running(data: Path, allowed: Path) -> Iterator[Service]:
    """A service that is stopped, or killed where it does not stop, at the end of the block."""
    service = Service(data, allowed)
    try:
        yield service
    finally:
        service.client.close()
        if service.process.poll() is None:
            family = service.family()
            try:
                service.stop()
            except subprocess.TimeoutExpired:
                service.process.kill()
                for process in family:
                    process.kill()


def wait_until(
    holds: Callable[[], bool], what: str | Callable[[], str], seconds: float = LONGEST_WAIT
) -> None:
    """Return as soon as `holds()`; fail, naming what was waited for, after `seconds`."""
    pause = threading.Event().wait
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        pause(0.02)
    raise AssertionError(f"waited {seconds:g} s for {what if isinstance(what, str) else what()}")
