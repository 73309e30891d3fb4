"""Memory that runs out is answered once with half the batch; the job says so."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from app.replies import job_reply
from demo.world import CLASSES, write_world
from models.config import PRESETS
from models.student import Student
from models.teacher import Teacher
from tests.store_calls import worker_of
from workers.files import DataFolder, read_json
from workers.jobs import Kind, Lane, Phase, Status, new_id
from workers.settings import Settings
from workers.store import Store, connect

IMAGES, TEACHER_BATCH, BATCH = 10, 4, 6


@contextmanager
def little_memory(*, teacher=10**6, student=10**6):
    """Networks that run out of memory with more images at once than given."""
    encode, cams = Teacher.encode_images, Student.cams

    def checked(function, most):
        def call(self, images):
            # A student is traced too when it is saved, with something that has no length.
            if isinstance(images, torch.Tensor) and len(images) > most:
                raise torch.OutOfMemoryError(f"CUDA out of memory: {len(images)} images")
            return function(self, images)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Teacher, "encode_images", checked(encode, teacher))
        patch.setattr(Student, "cams", checked(cams, student))
        yield


class Service:
    def __init__(self, store, data, scenes):
        self.store = store
        self.settings = Settings(data=data, allowed_roots=[scenes], shard_images=5, threads=1)
        self.folder = DataFolder(data)
        self.folder.create()
        self.dataset_id = new_id("ds")
        request = {"name": None, "source": {"kind": "folder", "path": str(scenes)}}
        phases = [Phase("register", Lane.IO)]
        store.create(Kind.DATASET, self.dataset_id, request=request, phases=phases)
        self.work()

    def work(self):
        for lane in (Lane.IO, Lane.METHOD, Lane.IO):
            worker_of(self.store, self.settings, lane).run_until_empty()

    def job(self, **config):
        """A job that has ended."""
        job_id = new_id("job")
        sizes = {"teacher_batch": TEACHER_BATCH, "batch_size": BATCH, **config}
        small = replace(PRESETS["tiny"], warm_up_epochs=1, train_epochs=2, **sizes)
        request = {
            "dataset_id": self.dataset_id,
            "name": None,
            "preset": "tiny",
            "metadata": {},
            "classes": [{"name": name, "prompts": []} for name in CLASSES[:3]],
            "config": small.to_dict(),
        }
        self.folder.job(job_id).mkdir(parents=True)
        self.store.create(
            Kind.JOB, job_id, request=request, phases=[Phase("check", Lane.METHOD, weight=0.01)]
        )
        self.work()
        return self.store.get(job_id)


@pytest.fixture(scope="module")
def calm(valkey_server, tmp_path_factory):
    """The outputs of an undisturbed job, by unit."""
    scenes = tmp_path_factory.mktemp("scenes")
    write_world(scenes, count=IMAGES, seed=6)
    with connect(Settings(redis_url=valkey_server)) as client:
        client.flushall()
        service = Service(Store(client), tmp_path_factory.mktemp("calm"), scenes)
        job = service.job()
        assert job.status is Status.SUCCEEDED, job.error
        return scenes, service.store.outputs(job.id)


@pytest.fixture
def service(store, tmp_path, calm):
    return Service(store, tmp_path / "data", calm[0])


def halved(job):
    return {name for name in job.facts if name.startswith("batch_halved/")}


def warnings(job):
    return [w["message"] for w in job_reply(job, None)["warnings"] if w["code"] == "batch_halved"]


def without_report(outputs):
    """The outputs that jobs share; a report names its job."""
    return {key: name for key, name in outputs.items() if key[0] != "report"}


def test_a_teacher_that_lacks_memory_sees_half_the_views_and_names_its_outputs_anew(service, calm):
    with little_memory(teacher=TEACHER_BATCH - 1):
        job = service.job()
    outputs = service.store.outputs(job.id)

    assert job.status is Status.SUCCEEDED, job.error
    assert {"batch_halved/embed/0", "batch_halved/embed/1"} <= halved(job)
    assert job.facts["batch_halved/embed/0"] == {"field": "teacher_batch", "from": 4, "to": 2}
    assert len(warnings(job)) == 1
    assert "2 units of embed (teacher_batch 2)" in warnings(job)[0]
    assert outputs["embed", 0] != calm[1]["embed", 0]
    card = read_json(service.folder.phase(outputs["export", 0]) / "model-card.json")
    assert "batch_halved" in {warning["code"] for warning in card["warnings"]}

    undisturbed = service.job()  # what half a batch made is not taken for what it asks for
    assert halved(undisturbed) == set()
    assert without_report(service.store.outputs(undisturbed.id)) == without_report(calm[1])


def test_a_student_that_lacks_memory_is_trained_in_two_parts(service, calm, monkeypatch):
    # `localize` looks at 8 images at once whatever the batch.
    monkeypatch.setattr("models.local_views.LOCALIZE_BATCH", 3)
    with little_memory(student=BATCH // 2):
        job = service.job()
    outputs = service.store.outputs(job.id)

    assert job.status is Status.SUCCEEDED, job.error
    # Epoch, threshold; two epochs; scores.
    units = ("warm_up/0", "warm_up/1", "train/0", "train/1", "score/0")
    assert halved(job) == {f"batch_halved/{unit}" for unit in units}
    same = {key for key, name in outputs.items() if name == calm[1][key]}
    assert {phase for phase, _ in same} == {"check", "embed", "debias"}


def test_only_the_epoch_that_lacked_memory_and_those_after_it_get_other_names(service, calm):
    step = [0]
    cams = Student.cams

    def fail_once(self, images):
        step[0] += self.training
        if step[0] == 3:  # the first step of the second epoch: 10 images are 2 steps an epoch
            step[0] += 1
            raise MemoryError
        return cams(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Student, "cams", fail_once)
        job = service.job()
    outputs = service.store.outputs(job.id)

    assert job.status is Status.SUCCEEDED, job.error
    assert halved(job) == {"batch_halved/train/0"}
    assert outputs["warm_up", 0] == calm[1]["warm_up", 0]
    assert outputs["update", 0] == calm[1]["update", 0]
    assert outputs["train", 0] != calm[1]["train", 0]
    assert outputs["train", 1] != calm[1]["train", 1]
    # The state of an epoch in two parts is found under its own name by those after it.
    kept = {path.name for path in service.folder.phases.iterdir()}
    assert f"weights-{outputs['train', 1].partition('-')[2]}" in kept


def test_half_is_tried_once_and_the_error_says_what_to_do(service):
    with little_memory(teacher=1):
        job = service.job()

    assert (job.status, job.error.code, job.error.phase) == (
        Status.FAILED,
        "out_of_memory",
        "embed",
    )
    assert "teacher_batch 4, and with half of it" in job.error.message
    assert "below 2" in job.error.hint


def test_a_batch_of_one_is_not_halved(service):
    with little_memory(teacher=0):
        job = service.job(teacher_batch=1)

    assert (job.error.code, job.error.retryable) == ("out_of_memory", False)
    assert halved(job) == set()
