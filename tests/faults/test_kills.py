"""Whatever is killed, and whenever: the job ends with the labels of an undisturbed run."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.world import CLASSES, write_world
from tests.service import Service, running, wait_until
from workers.files import DataFolder
from workers.jobs import Lane
from workers.queue import make_celery, ring
from workers.settings import Settings

IMAGES = 80
STAGES = ("global", "debiased", "local", "pseudo", "student")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_world(folder, count=IMAGES, seed=7)
    (folder / "truth.json").unlink()
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("data"), scenes) as service:
        yield service


@pytest.fixture(scope="module")
def body(service: Service, scenes: Path) -> dict[str, Any]:
    """A job that takes some seconds; small batches, so that no phase is over in a blink."""
    answer = service.client.post(
        "/v1/datasets",
        json={"name": "scenes", "source": {"kind": "folder", "path": str(scenes)}},
    )
    assert answer.is_success, answer.text
    return {
        "dataset_id": answer.json()["id"],
        "classes": list(CLASSES[:6]),
        "preset": "tiny",
        "config": {"warm_up_epochs": 1, "train_epochs": 2, "batch_size": 8, "teacher_batch": 2},
    }


@pytest.fixture(scope="module")
def golden(service: Service, body: dict[str, Any]) -> dict[str, bytes]:
    """Label bytes of a run that nothing disturbed."""
    job_id = service.submit(**body)
    service.finish(job_id)
    return {stage: service.labels(job_id, stage) for stage in STAGES}


@pytest.fixture
def job_id(service: Service, body: dict[str, Any], golden: dict[str, bytes]) -> str:
    """A job of the same inputs that can reuse nothing."""
    folder = DataFolder(service.data)
    for path in folder.phases.iterdir():
        folder.discard(path)
    return service.submit(**body)


def assert_same_labels(service: Service, job_id: str, golden: dict[str, bytes]) -> None:
    service.finish(job_id)
    for stage in STAGES:
        assert service.labels(job_id, stage) == golden[stage], stage


@pytest.mark.parametrize("phase", ["embed", "localize", "train"])
def test_a_worker_child_killed_in_a_phase_changes_no_label(
    service: Service, golden: dict[str, bytes], job_id: str, phase: str
) -> None:
    service.wait_for(job_id, lambda job: job["phase"] == phase and job["progress"]["done"] > 0)
    child = service.worker_child()
    child.kill()
    assert service.get(f"/v1/jobs/{job_id}")["phase"] == phase, "killed too late to prove anything"

    assert_same_labels(service, job_id, golden)
    assert service.worker_child().pid != child.pid


def test_a_worker_main_process_killed_in_training_changes_no_label(
    service: Service, golden: dict[str, bytes], job_id: str
) -> None:
    service.wait_for(job_id, lambda job: job["phase"] == "train")
    child = service.worker_child()
    service.worker().kill()

    assert_same_labels(service, job_id, golden)
    assert not psutil.pid_exists(child.pid)


def test_valkey_killed_in_training_changes_no_label(
    service: Service, golden: dict[str, bytes], job_id: str
) -> None:
    service.wait_for(job_id, lambda job: job["phase"] == "train")
    service.named("valkey").kill()

    assert_same_labels(service, job_id, golden)


def test_the_api_killed_in_a_job_changes_no_label(
    service: Service, golden: dict[str, bytes], job_id: str
) -> None:
    service.wait_for(job_id, lambda job: job["phase"] == "localize")
    service.named("app.cli", "api").kill()

    assert_same_labels(service, job_id, golden)


def test_fifty_doorbells_give_one_result(
    service: Service, golden: dict[str, bytes], job_id: str
) -> None:
    url = next(
        process.environ()["CCD_REDIS_URL"]
        for process in service.family()
        if "celery" in " ".join(process.cmdline())
    )
    ring(make_celery(Settings(redis_url=url)), Lane.METHOD, 50)

    assert_same_labels(service, job_id, golden)


def test_a_drained_worker_gives_its_unit_back_and_the_next_one_goes_on(
    service: Service, golden: dict[str, bytes], job_id: str
) -> None:
    service.wait_for(job_id, lambda job: job["phase"] == "train")
    worker = service.worker()
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)

    assert_same_labels(service, job_id, golden)


def test_a_killed_supervisor_leaves_nothing_and_a_restart_goes_on(
    service: Service, golden: dict[str, bytes], job_id: str
) -> None:
    service.wait_for(job_id, lambda job: job["phase"] == "train")
    family = service.family()
    service.process.kill()
    service.process.wait()
    wait_until(lambda: not any(is_alive(process) for process in family), "all children to end")

    service.start()

    assert_same_labels(service, job_id, golden)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
