"""Whatever is killed, and whenever: the job ends with the labels of an undisturbed run."""

import signal

import httpx
import psutil
import pytest

from demo.world import CLASSES, write_world
from tests.serving import Serve, survivors, wait_until
from workers.files import DataFolder
from workers.jobs import Lane
from workers.queue import make_celery, ring
from workers.settings import Settings

IMAGES = 40
STAGES = ("global", "debiased", "local", "pseudo", "student")
#: Everything that waits is short, so that what is lost is found again within seconds.
QUICK = {
    "CCD_LEASE_SECONDS": "4",
    "CCD_HEARTBEAT_SECONDS": "0.1",
    "CCD_REAP_SECONDS": "0.3",
    "CCD_BACKOFF_SECONDS": "0.1",
    "CCD_THREADS": "1",
    "CCD_SHARD_IMAGES": "25",
}
LONGEST_WAIT = 200


class Jobs:
    """A service, and what these tests ask of it."""

    def __init__(self, data, scenes):
        self.data, self._options = data, ("--port", "0", "--allow", str(scenes))
        self.start()

    def start(self):
        self.serve = Serve(self.data, *self._options, env=QUICK).wait_until_ready()
        self.client = httpx.Client(base_url=self.serve.url(), timeout=30)

    def post(self, path, body):
        answer = self.client.post(path, json=body)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return answer.json()["id"]

    def read(self, job_id):
        """The job, None while nobody answers."""
        try:
            answer = self.client.get(f"/v1/jobs/{job_id}")
        except httpx.TransportError:
            return None
        return answer.json() if answer.is_success else None

    def wait_for(self, job_id, phase):
        """The job, as soon as it is in that phase and has done something there."""

        def is_there():
            job = self.read(job_id)
            return job and job["phase"] == phase and job["progress"]["done"] > 0 and job

        return wait_until(is_there, LONGEST_WAIT)

    def finish(self, job_id):
        def is_over():
            job = self.read(job_id)
            return job and job["terminal"] and job

        job = wait_until(is_over, LONGEST_WAIT)
        assert job["status"] == "succeeded", job["error"]

    def labels(self, job_id):
        """The bytes of every stage."""
        return {stage: self._stage(job_id, stage) for stage in STAGES}

    def _stage(self, job_id, stage):
        answer = self.client.get(
            f"/v1/jobs/{job_id}/labels",
            params={"stage": stage, "views": stage == "local"},
            headers={"Accept": "application/x-ndjson"},
        )
        assert answer.is_success, answer.text
        return answer.content

    def worker(self):
        """The main process of the worker that runs the method."""
        return psutil.Process(self.serve.pid("worker-method"))

    def worker_child(self):
        """The process that runs its units."""
        children = self.worker().children()
        return next(child for child in children if "spawn_main" in " ".join(child.cmdline()))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_world(folder, count=IMAGES, seed=7)
    (folder / "truth.json").unlink()
    return folder


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, scenes):
    jobs = Jobs(tmp_path_factory.mktemp("kills") / "data", scenes)
    yield jobs
    jobs.client.close()
    jobs.serve.end()


@pytest.fixture(scope="module")
def body(jobs, scenes):
    """A job whose batches are small, so that no phase is over in a blink."""
    source = {"kind": "folder", "path": str(scenes)}
    return {
        "dataset_id": jobs.post("/v1/datasets", {"name": "scenes", "source": source}),
        "classes": list(CLASSES[:6]),
        "preset": "tiny",
        "config": {"warm_up_epochs": 1, "train_epochs": 2, "batch_size": 8, "teacher_batch": 1},
    }


@pytest.fixture(scope="module")
def golden(jobs, body):
    """The labels of a run that nothing disturbed."""
    job_id = jobs.post("/v1/jobs", body)
    jobs.finish(job_id)
    return jobs.labels(job_id)


@pytest.fixture
def job_id(jobs, body, golden):
    """A job of the same inputs that can reuse nothing."""
    folder = DataFolder(jobs.data)
    for path in folder.phases.iterdir():
        folder.discard(path)
    return jobs.post("/v1/jobs", body)


def assert_same_labels(jobs, job_id, golden):
    jobs.finish(job_id)
    labels = jobs.labels(job_id)
    assert [stage for stage in STAGES if labels[stage] != golden[stage]] == []


@pytest.mark.parametrize("phase", ["embed", "localize", "train"])
def test_a_worker_child_killed_in_a_phase_changes_no_label(jobs, golden, job_id, phase):
    jobs.wait_for(job_id, phase)
    child = jobs.worker_child()
    child.kill()
    assert jobs.read(job_id)["phase"] == phase, "killed too late to prove anything"

    assert_same_labels(jobs, job_id, golden)


def test_a_worker_killed_in_training_changes_no_label(jobs, golden, job_id):
    jobs.wait_for(job_id, "train")
    child = jobs.worker_child()
    jobs.worker().kill()

    assert_same_labels(jobs, job_id, golden)
    assert not survivors([child])


def test_valkey_killed_in_training_changes_no_label(jobs, golden, job_id):
    jobs.wait_for(job_id, "train")
    psutil.Process(jobs.serve.pid("valkey")).kill()

    assert_same_labels(jobs, job_id, golden)


def test_the_api_killed_in_a_job_changes_no_label(jobs, golden, job_id):
    jobs.wait_for(job_id, "localize")
    psutil.Process(jobs.serve.pid("api")).kill()

    assert_same_labels(jobs, job_id, golden)


def test_fifty_doorbells_give_one_result(jobs, golden, job_id):
    url = jobs.worker().environ()["CCD_REDIS_URL"]
    ring(make_celery(Settings(redis_url=url)), Lane.METHOD, 50)

    assert_same_labels(jobs, job_id, golden)


def test_a_drained_worker_gives_its_unit_back_and_the_next_one_goes_on(jobs, golden, job_id):
    jobs.wait_for(job_id, "train")
    worker = jobs.worker()
    worker.send_signal(signal.SIGTERM)
    assert not survivors([worker], seconds=30)

    assert_same_labels(jobs, job_id, golden)


def test_a_killed_supervisor_leaves_nothing_and_a_restart_goes_on(jobs, golden, job_id):
    jobs.wait_for(job_id, "train")
    family = jobs.serve.family
    jobs.serve.process.kill()
    jobs.serve.process.wait()
    assert not survivors(family)

    jobs.client.close()
    jobs.start()

    assert_same_labels(jobs, job_id, golden)
