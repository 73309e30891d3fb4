"""Whatever is killed, and whenever: the job ends with the labels of an undisturbed run."""

import signal
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import pytest

from demo.world import CLASSES, write_world
from tests.faults.services import STAGES, Jobs
from tests.serving import survivors
from workers.files import DataFolder
from workers.jobs import Lane
from workers.queue import make_celery, ring
from workers.settings import Settings

IMAGES = 40
#: Where the whole service is hit; tests/faults/worlds.py hits single workers in every phase.
IN_TRAINING_AND_LONG = [
    *(pytest.param(phase, marks=pytest.mark.long) for phase in ("embed", "localize")),
    "train",
]


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
    jobs.end()


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


@pytest.mark.long
@pytest.mark.parametrize("phase", ["embed", "localize", "train"])
def test_a_worker_child_killed_in_a_phase_changes_no_label(jobs, golden, job_id, phase):
    jobs.wait_for(job_id, phase)
    child = jobs.worker_child()
    child.kill()
    assert jobs.read(job_id)["phase"] == phase, "killed too late to prove anything"

    assert_same_labels(jobs, job_id, golden)


@pytest.mark.parametrize("phase", IN_TRAINING_AND_LONG)
def test_a_worker_killed_in_a_phase_changes_no_label(jobs, golden, job_id, phase):
    jobs.wait_for(job_id, phase)
    child = jobs.worker_child()
    jobs.worker().kill()

    assert_same_labels(jobs, job_id, golden)
    assert not survivors([child])


@pytest.mark.long
def test_valkey_killed_in_training_changes_no_label(jobs, golden, job_id):
    jobs.wait_for(job_id, "train")
    psutil.Process(jobs.serve.pid("valkey")).kill()

    assert_same_labels(jobs, job_id, golden)


def test_the_api_killed_in_a_job_changes_no_label(jobs, golden, job_id):
    jobs.wait_for(job_id, "localize")
    psutil.Process(jobs.serve.pid("api")).kill()

    assert_same_labels(jobs, job_id, golden)


@pytest.mark.long
def test_fifty_doorbells_give_one_result(jobs, golden, job_id):
    url = jobs.worker().environ()["CCD_REDIS_URL"]
    ring(make_celery(Settings(redis_url=url)), Lane.METHOD, 50)

    assert_same_labels(jobs, job_id, golden)
    lines = jobs.client.get(f"/v1/jobs/{job_id}/logs", params={"limit": 1000}).json()["data"]
    begun = Counter((line["phase"], line["unit"]) for line in lines if is_begin(line))
    assert ("train", 1) in begun
    assert set(begun.values()) == {1}  # none of them led to a second attempt


def is_begin(line):
    return line["event"] == "unit.started"


@pytest.mark.parametrize("phase", IN_TRAINING_AND_LONG)
def test_a_drained_worker_gives_its_unit_back_and_the_next_one_goes_on(jobs, golden, job_id, phase):
    jobs.wait_for(job_id, phase)
    worker = jobs.worker()
    worker.send_signal(signal.SIGTERM)
    assert not survivors([worker], seconds=30)
    assert not [*Path(tempfile.gettempdir()).glob(f"ccd-drain-*-{worker.pid}")]

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
