"""One real `ccd worker` as an operator sees it: its log, its entry among the workers, its end."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest
from PIL import Image

from tests.serving import ROOT, survivors, wait_until
from tests.store_calls import STANDING
from workers.jobs import Lane, Status
from workers.registry import Registry, worker_name
from workers.stats import read_stats

LEASE_SECONDS = 3


class WorkerProcess:
    """`ccd worker --lane io` beside the API of these tests."""

    def __init__(self, environment, log):
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "worker", "--lane", "io"],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
            )

    @property
    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def find(self, event):
        return [line for line in self.lines if line["event"] == event]

    def end(self):
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            survivors(family)
        self.process.wait()


@pytest.fixture
def environment(api):
    settings = api.settings
    return {
        "CCD_REDIS_URL": settings.redis_url,
        "CCD_DATA": str(settings.data),
        "CCD_ALLOWED_ROOTS": str(settings.allowed_roots[0]),
        "CCD_LEASE_SECONDS": str(LEASE_SECONDS),
        "CCD_HEARTBEAT_SECONDS": "0.2",
        "CCD_REAP_SECONDS": "0.3",
        "CCD_THREADS": "1",
    }


@pytest.fixture
def worker(environment, tmp_path):
    process = WorkerProcess(environment, tmp_path / "worker.txt")
    yield process
    process.end()


def register(api, name):
    """The id of a dataset of one image, and of the request that asked for it."""
    folder = api.root / name
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    reply = api.post("/v1/datasets", json={"source": {"kind": "folder", "path": str(folder)}})
    return reply.json()["id"], reply.headers["x-request-id"]


def listed(api):
    return api.get("/v1/workers").json()["data"]


def check(environment, lane):
    """What `ccd worker --check` says, with the environment of a worker."""
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "worker", "--lane", lane, "--check"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_line_of_a_worker_is_json_and_those_of_a_unit_bear_the_request_id(api, worker):
    dataset_id, request_id = register(api, "logged")

    ended = wait_until(lambda: worker.find("unit.ended"), seconds=120)  # it loads torch first

    assert (ended[0]["record"], ended[0]["request_id"]) == (dataset_id, request_id)
    assert ended[0]["outcome"] == "completed"
    assert ended[0]["worker"].startswith("io@")
    assert "logged" not in worker.log.read_text()


def test_a_worker_is_listed_while_it_lives_and_leaves_when_it_is_drained(api, environment, worker):
    [entry] = wait_until(lambda: listed(api), seconds=120)

    assert entry["name"] == worker_name(Lane.IO, worker.process.pid)
    assert (entry["lane"], entry["host"]) == ("io", socket.gethostname())
    assert (entry["pid"], entry["device"]) == (worker.process.pid, "cpu")
    assert (entry["unit"], entry["draining"]) == (None, False)
    assert 1 << 20 < entry["memory_bytes"] <= psutil.virtual_memory().total
    assert entry["started_at"] <= entry["heartbeat_at"]
    wait_until(lambda: listed(api)[0]["heartbeat_at"] > entry["heartbeat_at"])

    said = check(environment, "io")
    assert said.returncode == 0, said.stderr
    said = check(environment, "method")
    assert said.returncode == 1
    assert f"no worker of lane method on {socket.gethostname()}" in said.stderr

    worker.process.terminate()
    assert worker.process.wait(60) == 0
    assert listed(api) == []
    assert check(environment, "io").returncode == 1


def test_a_drained_worker_ends_though_its_unit_does_not_listen(api, environment, tmp_path):
    environment |= {"CCD_FAULTS": "unit.started=hang", "CCD_STOP_SECONDS": "0.5"}
    worker = WorkerProcess(environment, tmp_path / "worker.txt")
    try:
        dataset_id, _ = register(api, "deaf")
        wait_until(lambda: "fault.met" in worker.log.read_text(), seconds=120)

        worker.process.terminate()
        assert worker.process.wait(30) == 0
    finally:
        worker.end()

    assert api.store.waiting(Lane.IO) == 1
    attempts = read_stats(api.store).attempts
    assert attempts == {("register", "given_back"): 1}
    assert api.store.get(dataset_id).error is None


@pytest.mark.long
def test_a_child_that_says_nothing_any_more_is_killed_and_another_goes_on(
    api, environment, tmp_path
):
    """As one whose interpreter's lock is never let go: all its threads stand still."""
    environment |= {"CCD_BACKOFF_SECONDS": "0.1", "CCD_FAULTS": "unit.started=stop"}
    worker = WorkerProcess(environment, tmp_path / "worker.txt")
    try:
        dataset_id, _ = register(api, "silent")

        wait_until(lambda: api.store.get(dataset_id).status is Status.SUCCEEDED, seconds=240)
    finally:
        worker.end()

    assert worker.log.read_text().count("worker.silent") == 1


def test_a_worker_that_was_killed_disappears_after_a_lease(api, worker):
    wait_until(lambda: listed(api), seconds=120)

    worker.end()

    wait_until(lambda: not listed(api))
    assert api.store.redis.keys("ccd:worker*") == []


def test_a_worker_in_another_container_of_the_same_name_does_not_count(api, environment):
    # What it says there: the same host, the same process id, as the first process of a container.
    elsewhere = f"io@{socket.gethostname()}:0123abcd:1"
    Registry(api.store).announce(replace(STANDING, name=elsewhere, host=socket.gethostname()))

    assert check(environment, "io").returncode == 1


def test_a_check_does_not_blame_a_worker_for_a_redis_that_is_away(environment, tmp_path):
    environment["CCD_REDIS_URL"] = f"unix://{tmp_path}/nobody.sock"

    said = check(environment, "io")

    assert said.returncode == 0
    assert "Redis does not answer" in said.stdout
