"""A worker runs real units of a real job against a real Valkey, in this process."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.scaling.costs import Shape, bytes_per_image
from demo.world import CLASSES, write_world
from models import distill
from models.config import PRESETS
from models.data import ImageFiles, view_batches
from models.metrics import mean_average_precision
from models.onnx_export import OnnxStudent, check_difference
from models.teacher import Teacher
from tests.store_calls import worker_of
from workers import export, phases, report, units
from workers.evaluation import evaluate_job
from workers.files import DataFolder, read_json, write_json
from workers.jobs import Kind, Lane, Phase, Record, Status, new_id
from workers.outcomes import RESULT
from workers.results import open_job
from workers.rows import content_files, read_rows, tensor_rows
from workers.settings import Settings
from workers.stages import Stage
from workers.store import Store, connect
from workers.truth.read import read_truth
from workers.worker import Halted, Worker

REGISTER = [Phase("register", Lane.IO)]
CHECK = [Phase("check", Lane.METHOD, weight=0.01)]
IMAGES = 10
SHARD = 4


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_world(folder, count=IMAGES, seed=6)
    return folder


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Service:
    """The workers of both lanes and a way to ask for work; no Celery, no HTTP."""

    def __init__(self, store: Store, data: Path, scenes: Path) -> None:
        self.store = store
        self.settings = Settings(
            data=data, allowed_roots=[scenes], shard_images=SHARD, threads=1, heartbeat_seconds=0.05
        )
        self.folder = DataFolder(self.settings.data)
        self.folder.create()
        self.is_draining = False
        self.dataset_id = self.register(scenes)

    def worker(self, lane: Lane = Lane.METHOD) -> Worker:
        return worker_of(self.store, self.settings, lane, lambda: self.is_draining)

    def register(self, scenes: Path) -> str:
        dataset_id = new_id("ds")
        request = {"name": "scenes", "source": {"kind": "folder", "path": str(scenes)}}
        self.store.create(Kind.DATASET, dataset_id, request=request, phases=REGISTER)
        self.worker(Lane.IO).run_until_empty()
        return dataset_id

    def submit(self, classes: list[str] = CLASSES[:4], **config: Any) -> str:
        job_id = new_id("job")
        small = replace(PRESETS["tiny"], warm_up_epochs=1, train_epochs=2, batch_size=5)
        small = replace(small, **config)
        request = {
            "dataset_id": self.dataset_id,
            "classes": [{"name": name, "prompts": []} for name in classes],
            "config": small.to_dict(),
        }
        self.folder.job(job_id).mkdir(parents=True)
        self.store.create(
            Kind.JOB, job_id, request=request, phases=CHECK, waits_for=self.dataset_id
        )
        return job_id

    def finish(self, job_id: str) -> Record:
        self.worker().run_until_empty()
        self.worker(Lane.IO).run_until_empty()
        return self.store.get(job_id)

    def published(self, job_id: str) -> dict[str, bytes]:
        """The bytes of every file that the job's record names, but for the report of this job."""
        files = {}
        for (phase, unit), name in self.store.outputs(job_id).items():
            is_shared = name and phase != "report"
            for path in self.folder.phase(name).iterdir() if is_shared else ():
                files[f"{phase}/{unit}/{path.name}"] = path.read_bytes()
        return files


@dataclass(frozen=True)
class Calm:
    """A job that nothing disturbed: what is there before its last phase, and at its end."""

    before_export: Record
    had_result: bool
    job: Record
    dataset: Record
    outputs: dict[tuple[str, int], str]
    published: dict[str, bytes]
    folder: DataFolder
    scenes: Path

    def output(self, phase: str) -> Path:
        return self.folder.phase(self.outputs[phase, 0])


@pytest.fixture(scope="module")
def calm(valkey_server: str, tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Calm:
    with connect(Settings(redis_url=valkey_server)) as client:
        client.flushall()
        service = Service(Store(client), tmp_path_factory.mktemp("calm"), scenes)
        job_id = service.submit()
        service.worker().run_until_empty()
        before, result = service.store.get(job_id), service.folder.job(job_id) / "result.json"
        had_result = result.exists()
        return Calm(
            before_export=before,
            had_result=had_result,
            job=service.finish(job_id),
            dataset=service.store.get(service.dataset_id),
            outputs=service.store.outputs(job_id),
            published=service.published(job_id),
            folder=service.folder,
            scenes=scenes,
        )


@pytest.fixture
def service(store: Store, tmp_path: Path, scenes: Path) -> Service:
    return Service(store, tmp_path / "data", scenes)


@pytest.fixture
def done(service: Service, calm: Calm) -> Service:
    """A service that finds all of a job done."""
    shutil.copytree(calm.folder.phases, service.folder.phases, dirs_exist_ok=True)
    return service


@pytest.fixture
def trained(done: Service, calm: Calm) -> Service:
    """A service that finds all of a job but its exports and its report done."""
    for phase in ("export", "report"):
        shutil.rmtree(done.folder.phase(calm.outputs[phase, 0]))
    return done


def test_a_job_runs_to_its_student(calm: Calm) -> None:
    assert calm.job.status is Status.SUCCEEDED, calm.job.error
    assert calm.job.progress.percent == 100
    student = calm.folder.student(calm.job.facts["student_id"])
    assert calm.folder.is_complete(student)
    listed = read_json(student / "student.json")
    assert listed["classes"] == sorted(CLASSES[:4])
    assert len(listed["thresholds"]) == 4


def test_a_result_is_on_disk_once_the_last_phase_is_done(calm: Calm) -> None:
    assert calm.before_export.status is Status.RUNNING
    assert calm.before_export.progress.percent < 100
    assert not calm.had_result

    kept = read_json(calm.folder.job(calm.job.id) / "result.json")

    assert (kept["status"], kept["facts"]) == ("succeeded", calm.job.facts)
    assert kept["outputs"] == [[*key, name] for key, name in sorted(calm.outputs.items())]


def test_a_job_ends_with_its_exports(calm: Calm) -> None:
    assert {path.name for path in calm.output("export").iterdir()} == {
        *("student.onnx", "model-card.md", "model-card.json", "MANIFEST.json")
    }
    found = calm.job.facts["onnx"]
    assert (found["reason"], found["images"], found["batch_sizes"]) == (None, IMAGES, [1, 5, 10])
    assert 0 <= found["largest_difference"] <= 1e-4


def test_the_onnx_file_gives_the_scores_of_the_job(calm: Calm) -> None:
    files = ImageFiles(*content_files(calm.folder.dataset(calm.dataset.id)))
    onnx = OnnxStudent((calm.output("export") / "student.onnx").read_bytes(), threads=1)

    side = PRESETS["tiny"].student_size
    batches = view_batches(files, range(IMAGES), side=side, batch_size=3, threads=1)
    probs = torch.cat([onnx.probs(images) for _, images in batches])

    scores = load_file(calm.output("score") / "scores.safetensors")["probs"]
    assert (probs - scores).abs().max() <= 1e-4


def test_the_model_card_says_where_the_student_comes_from(calm: Calm) -> None:
    card, facts = read_json(calm.output("export") / "model-card.json"), calm.job.facts

    assert card["data"]["images_digest"] == calm.dataset.facts["images_digest"]
    assert [entry["name"] for entry in card["classes"]] == sorted(CLASSES[:4])
    assert [entry["bias"]["factor"] for entry in card["classes"]] == facts["bias"]["factors"]
    assert card["teacher"]["name"] == "bundled:tiny"
    assert card["teacher"]["digest"] == facts["fingerprint"]["teacher"]
    assert card["config"] == calm.job.request["config"]
    assert (card["metrics"], card["thresholds"]["version"]) == (None, 1)
    assert "no true label" in card["thresholds"]["meaning"]
    # The report comes after the card, with warnings of its own.
    assert "no_threshold" in {warning["code"] for warning in card["warnings"]}
    assert card["warnings"] == facts["warnings"][: len(card["warnings"])]
    assert card["onnx"] == facts["onnx"]


def test_a_student_that_cannot_be_had_as_onnx_ends_its_job_with_a_warning(
    trained: Service,
) -> None:
    def farther(probs: torch.Tensor, expected: torch.Tensor) -> float:
        return check_difference(probs + 2e-4, expected)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "check_difference", farther)
        job = trained.finish(trained.submit())

    assert job.status is Status.SUCCEEDED
    (warning,) = [w for w in job.facts["warnings"] if w["code"] == "onnx_not_exported"]
    assert "differ from torch's by 0.0002, at most 0.0001" in warning["message"]
    exported = trained.folder.phase(trained.store.outputs(job.id)["export", 0])
    assert not (exported / "student.onnx").exists()
    assert "differ from torch's by 0.0002" in (exported / "model-card.md").read_text()


def test_a_job_outlives_an_image_that_vanished_after_its_training(
    trained: Service, scenes: Path
) -> None:
    job_id = trained.submit()
    trained.worker().run_until_empty()
    vanished = min(scenes.rglob("*.jpg"))
    with vanished_for_a_while(vanished):
        job = trained.finish(job_id)
    later = trained.finish(trained.submit())

    assert job.status is Status.SUCCEEDED
    (warning,) = [w for w in job.facts["warnings"] if w["code"] == "onnx_not_exported"]
    assert f"{vanished.name}: cannot be read" in warning["message"]
    assert later.facts["onnx"]["reason"] is None


@contextmanager
def vanished_for_a_while(path: Path) -> Iterator[None]:
    away = path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        away.rename(path)


def test_the_last_attempt_at_an_export_leaves_the_onnx_file_out(trained: Service) -> None:
    job_id = trained.submit()
    trained.worker().run_until_empty()
    for attempt in (1, 2):
        claim = trained.store.claim(Lane.IO, worker="lost", nonce=f"n{attempt}")
        assert claim is not None
        trained.store.release("lost")
        trained.store.requeue(claim.unit_id, claim.nonce)

    job = trained.finish(job_id)

    assert job.status is Status.SUCCEEDED
    assert "worker was lost" in job.facts["onnx"]["reason"]
    assert "onnx_not_exported" in {warning["code"] for warning in job.facts["warnings"]}


def test_a_job_ends_with_its_report(calm: Calm) -> None:
    assert {path.name for path in calm.output("report").iterdir()} == {
        *("report.html", "health.json", "policy.txt", "MANIFEST.json")
    }
    health = read_json(calm.output("report") / "health.json")
    assert health["job_id"] == calm.job.id
    assert health["images"] == {"files": IMAGES, "distinct": IMAGES}
    assert [entry["name"] for entry in health["classes"]] == list(CLASSES[:4])
    assert calm.job.id in (calm.output("report") / "report.html").read_text()


def test_severe_findings_are_warnings_of_the_job_once(calm: Calm) -> None:
    health = read_json(calm.output("report") / "health.json")
    severe = {f["code"] for f in health["findings"] if f["severity"] == "warning"}
    codes = [warning["code"] for warning in calm.job.facts["warnings"]]

    # Ten images are too few for thresholds: phase score has warned of what never fires.
    assert "never_fires" in severe
    assert "no_threshold" in codes
    assert sorted(codes) == sorted({*codes, *(severe - {"never_fires"})})


def test_a_report_that_cannot_be_made_is_a_warning(trained: Service) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "build", lambda *_, **__: 1 // 0)
        job = trained.finish(trained.submit())

    assert job.status is Status.SUCCEEDED
    assert job.progress.percent == 100
    (warning,) = [w for w in job.facts["warnings"] if w["code"] == "report_failed"]
    assert "ZeroDivisionError" in warning["message"]
    assert trained.store.outputs(job.id)["report", 0] == ""
    kept = read_json(trained.folder.job(job.id) / "result.json")
    assert kept["facts"]["warnings"] == job.facts["warnings"]


def test_a_report_that_takes_its_worker_down_is_given_up(trained: Service) -> None:
    job_id = trained.submit()
    trained.worker().run_until_empty()
    claim = trained.store.claim(Lane.IO, worker="io", nonce="export")
    assert claim is not None
    trained.worker(Lane.IO).run(claim)
    for attempt in (1, 2):
        claim = trained.store.claim(Lane.IO, worker="lost", nonce=f"n{attempt}")
        assert claim is not None
        assert claim.phase == "report"
        trained.store.release("lost")
        trained.store.requeue(claim.unit_id, claim.nonce)

    job = trained.finish(job_id)

    assert job.status is Status.SUCCEEDED
    (warning,) = [w for w in job.facts["warnings"] if w["code"] == "report_failed"]
    assert "its worker was lost in each of 2 attempts" in warning["message"]


def test_a_report_is_stopped_while_it_looks_at_what_it_is_made_of(trained: Service) -> None:
    job_id = trained.submit()
    trained.worker().run_until_empty()
    looked: list[str] = []
    whole = units.JobUnit.whole

    def looking(unit: units.JobUnit, name: str) -> Path:
        if unit.claim.phase == "report":
            looked.append(name)
            trained.is_draining = True
        return whole(unit, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units.JobUnit, "whole", looking)
        trained.worker(Lane.IO).run_until_empty()

    assert len(looked) == 1
    assert trained.store.get(job_id).status is Status.RUNNING
    assert trained.store.live_nonces() == set()


def test_a_report_is_made_of_images_that_are_gone(store: Store, tmp_path: Path, calm: Calm) -> None:
    own = tmp_path / "own"
    shutil.copytree(calm.scenes, own)
    service = Service(store, tmp_path / "data", own)
    shutil.copytree(calm.folder.phases, service.folder.phases, dirs_exist_ok=True)
    shutil.rmtree(service.folder.phase(calm.outputs["report", 0]))
    job_id = service.submit()
    service.worker().run_until_empty()
    shutil.rmtree(own)

    job = service.finish(job_id)

    assert job.status is Status.SUCCEEDED
    assert "report_failed" not in {warning["code"] for warning in job.facts["warnings"]}
    page = service.folder.phase(store.outputs(job_id)["report", 0]) / "report.html"
    assert "data:image" not in page.read_text()
    assert "gone" in page.read_text()


def test_every_stage_has_a_row_for_every_image(calm: Calm) -> None:
    def rows(phase: str, file: str, tensor: str, unit: int = 0) -> int:
        return tensor_rows(calm.folder.phase(calm.outputs[phase, unit]) / file, tensor)

    assert rows("debias", "labels.safetensors", "probs") == IMAGES
    assert rows("debias", "labels.safetensors", "labels") == IMAGES
    assert rows("update", "labels.safetensors", "labels") == IMAGES
    assert rows("score", "scores.safetensors", "probs") == IMAGES
    shards = range(-(-IMAGES // SHARD))
    assert [rows("localize", "views.safetensors", "local_probs", k) for k in shards] == [4, 4, 2]


def test_an_image_has_as_many_bytes_in_a_job_as_the_scaling_page_says(calm: Calm) -> None:
    def tensors(phase: str, file: str) -> list[dict[str, torch.Tensor]]:
        names = [name for (of, _), name in calm.outputs.items() if of == phase]
        return [load_file(calm.folder.phase(name) / file) for name in names]

    files = {
        "embed": tensors("embed", "features.safetensors"),
        "debias": tensors("debias", "labels.safetensors"),
        "localize": tensors("localize", "views.safetensors"),
        "update": tensors("update", "labels.safetensors"),
    }
    views = sum(len(shard["boxes"]) for shard in files["localize"])
    features = files["embed"][0]["features"].shape[1]
    expected = bytes_per_image(Shape(classes=4, features=features, views=views / IMAGES))

    for phase, shards in files.items():
        found = sum(tensor.nbytes for shard in shards for tensor in shard.values())
        # Each shard of views has one offset more than images.
        more = 8 * len(shards) if phase == "localize" else 0
        assert found - more == pytest.approx(IMAGES * expected[phase]), phase


def test_a_job_is_evaluated_from_its_files_alone(calm: Calm, scenes: Path, tmp_path: Path) -> None:
    drawn = read_json(scenes / "truth.json")["images"]
    rows = [{"path": path, "labels": about["labels"]} for path, about in drawn.items()]
    (tmp_path / "truth.jsonl").write_text("\n".join(map(json.dumps, rows)))
    # As the API leaves it.
    write_json(calm.folder.job(calm.job.id) / "request.json", {"request": calm.job.request})

    results = open_job(calm.folder, calm.job.id)
    evaluation, _ = evaluate_job(results, read_truth(tmp_path / "truth.jsonl"))

    names = sorted(CLASSES[:4])
    labels = [drawn[path]["labels"] for path in results.paths]
    targets = torch.tensor([[name in own for name in names] for own in labels])
    scores = load_file(calm.output("score") / "scores.safetensors")["probs"][results.rows]
    found = evaluation["stages"]["student"]
    assert evaluation["counts"]["matched"] == IMAGES
    assert found["map"] == pytest.approx(mean_average_precision(scores, targets), abs=1e-9)
    assert {stage: entry["map"] is None for stage, entry in evaluation["stages"].items()} == (
        dict.fromkeys(Stage, False)
    )


def test_boxes_of_local_views_lie_in_their_images(calm: Calm) -> None:
    boxes = read_rows(calm.output("localize") / "views.safetensors", "boxes", 0, 10**6)

    assert boxes
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 224
        assert 0 <= top < bottom <= 224


def test_new_class_names_cost_no_image_encoder_pass_for_the_global_views(
    done: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = done.submit(CLASSES[4:7])
    encoded: list[str] = []
    worker = done.worker()
    monkeypatch.setattr(
        Teacher,
        "encode_images",
        _noting(encoded, worker, Teacher.encode_images),
    )

    worker.run_until_empty()

    assert done.finish(job_id).status is Status.SUCCEEDED
    assert set(encoded) == {"localize"}


def _noting(encoded: list[str], worker: Worker, encode: Callable[..., Any]) -> Callable[..., Any]:
    """`encode`, which also notes in which phase it was called."""
    attempt = worker._attempt
    phase = [""]

    def noting_phase(claim: Any) -> str:
        phase[0] = claim.phase
        return attempt(claim)

    worker._attempt = noting_phase  # type: ignore[method-assign]

    def noting(self: Teacher, views: Any) -> Any:
        encoded.append(phase[0])
        return encode(self, views)

    return noting


def test_the_same_job_again_reuses_every_phase(done: Service, calm: Calm) -> None:
    job_id = done.submit()
    done.finish(job_id)

    assert shared(done.store.outputs(job_id)) == shared(calm.outputs)


def shared(outputs: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], str]:
    """Outputs that another job may use too: all but the report, which is about one job."""
    return {key: name for key, name in outputs.items() if key != ("report", 0)}


def test_another_alpha_reuses_the_warm_up_and_the_local_views(done: Service, calm: Calm) -> None:
    job_id = done.submit(alpha=0.9)
    done.finish(job_id)
    before, after = calm.outputs, done.store.outputs(job_id)

    changed = {phase for (phase, unit), name in after.items() if before[phase, unit] != name}

    assert changed == {"update", "train", "score", "export", "report"}


def test_the_order_of_the_classes_gives_the_same_files(done: Service, calm: Calm) -> None:
    job_id = done.submit(CLASSES[:4][::-1])
    job = done.finish(job_id)

    assert shared(done.store.outputs(job_id)) == shared(calm.outputs)
    assert job.facts["class_order"] != calm.job.facts["class_order"]


def test_a_job_that_was_stopped_in_every_phase_ends_with_the_same_bytes(
    calm: Calm, service: Service
) -> None:
    """Each time the unit in hand is done again from its start."""
    job_id = service.submit()
    stopped: list[str] = []
    run_unit = phases.run_unit

    def interrupted(claim: Any, outputs: Any, bench: Any, on_batch: Any) -> Any:
        def drain_once(done: int) -> None:
            on_batch(done)
            if done and claim.phase not in stopped:
                stopped.append(claim.phase)
                raise Halted

        return run_unit(claim, outputs, bench, drain_once)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "run_unit", interrupted)
        job = service.finish(job_id)

    assert stopped == ["embed", "warm_up", "localize", "train", "score", "export", "report"]
    assert job.status is Status.SUCCEEDED
    assert service.published(job_id) == calm.published


def test_a_lost_checkpoint_is_trained_again_to_the_same_bytes(calm: Calm, service: Service) -> None:
    job_id = service.submit()
    lost: list[bool] = []
    run_unit = phases.run_unit

    def losing(claim: Any, outputs: Any, bench: Any, on_batch: Any) -> Any:
        if claim.phase == "train" and claim.unit == 1:
            for folder in service.folder.phases.iterdir():
                if folder.name.startswith(("weights-", "optimizer-")):
                    (folder / "state.safetensors").write_bytes(b"gone")
                    lost.append(True)
            bench = units.Workbench(service.settings, DataFolder(service.settings.data))
        return run_unit(claim, outputs, bench, on_batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "run_unit", losing)
        job = service.finish(job_id)

    assert lost
    assert job.status is Status.SUCCEEDED, job.error
    assert service.published(job_id) == calm.published


def test_how_an_epoch_went_is_told_again_without_training(trained: Service, calm: Calm) -> None:
    job_id = trained.submit()
    trained.worker().run_until_empty()
    damaged = [*trained.folder.phases.glob("*/epoch.json")]
    for path in damaged:
        path.write_bytes(b"gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "train_epoch", lambda *_, **__: 1 // 0)
        job = trained.finish(job_id)

    assert len(damaged) == 3
    assert "report_failed" not in {warning["code"] for warning in job.facts["warnings"]}
    assert trained.published(job_id) == calm.published


def test_a_repair_leaves_no_more_checkpoints_than_there_were(trained: Service) -> None:
    first_id = trained.submit(train_epochs=4)
    trained.worker().run_until_empty()
    kept = states(trained)
    for path in kept:
        (path / "state.safetensors").write_bytes(b"gone")
    trained.folder.discard(trained.folder.phase(trained.store.outputs(first_id)["score", 0]))

    again = trained.finish(trained.submit(train_epochs=4))

    assert again.status is Status.SUCCEEDED, again.error
    assert states(trained) == kept


def states(service: Service) -> set[Path]:
    """The folders that an epoch can start from."""
    return {*service.folder.phases.glob("weights-*"), *service.folder.phases.glob("optimizer-*")}


def test_a_damaged_output_is_not_made_again_on_another_device(trained: Service) -> None:
    job_id = trained.submit()
    trained.worker().run_until_empty()
    damaged = trained.folder.phase(trained.store.outputs(job_id)["score", 0]) / "scores.safetensors"
    damaged.write_bytes(b"gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "device_name", lambda _device: "another GPU")
        job = trained.finish(job_id)

    assert job.error is not None
    assert (job.error.code, job.error.phase) == ("artifact_corrupt", "export")
    assert job.error.retryable
    assert damaged.read_bytes() == b"gone"


def test_a_draining_worker_gives_its_unit_back(service: Service) -> None:
    job_id = service.submit()
    service.is_draining = True
    worker = service.worker()
    claim = service.store.claim(Lane.METHOD, worker=worker.name, nonce="a")
    assert claim is not None
    worker.run(claim)  # `check` has no batch to stop at: it is finished
    claim = service.store.claim(Lane.METHOD, worker=worker.name, nonce="b")
    assert claim is not None
    assert claim.phase == "embed"

    worker.run(claim)

    again = service.store.claim(Lane.METHOD, worker=worker.name, nonce="c")
    assert again is not None
    assert (again.phase, again.attempt) == ("embed", 1)
    assert service.store.get(job_id).status is Status.RUNNING


def test_a_cancelled_job_stops_within_a_batch_and_publishes_nothing_more(
    service: Service,
) -> None:
    job_id = service.submit()
    worker = service.worker()
    run_unit = phases.run_unit
    batches: list[int] = []

    def cancelling(claim: Any, outputs: Any, bench: Any, on_batch: Any) -> Any:
        def cancel_and_wait(done: int) -> None:
            if claim.phase != "warm_up":
                on_batch(done)
                return
            service.store.cancel(job_id)
            batches.append(done)
            given_up_at = time.monotonic() + service.settings.stop_seconds / 2
            while time.monotonic() < given_up_at:  # the flag arrives with the next heartbeat
                on_batch(done)
            batches.append(-1)  # nothing arrived
            raise AssertionError

        return run_unit(claim, outputs, bench, cancel_and_wait)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "run_unit", cancelling)
        worker.run_until_empty()

    assert service.store.get(job_id).status is Status.CANCELLED
    assert batches == [5]
    assert not any(phase == "warm_up" for phase, _ in service.store.outputs(job_id))


@pytest.mark.parametrize(
    ("classes", "config", "code", "said"),
    [
        ([CLASSES[3], "zebra", CLASSES[1]], {}, "unknown_words", "class 1"),
        (CLASSES[:2], {"background": True}, "background_unknown", "background names"),
        (CLASSES[:2], {"teacher": "RN50/nowhere"}, "unknown_teacher", "RN50"),
    ],
)
def test_what_the_api_cannot_know_fails_in_check(
    service: Service, classes: list[str], config: dict[str, Any], code: str, said: str
) -> None:
    job = service.finish(service.submit(classes, **config))

    assert job.status is Status.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.phase) == (code, "check")
    assert said in job.error.message


def test_an_image_changed_after_registration_ends_the_job_by_name(
    store: Store, tmp_path: Path, scenes: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for path in sorted(scenes.rglob("*.jpg"))[:5]:
        (own / path.name).write_bytes(path.read_bytes())
    service = Service(store, tmp_path / "data", own)
    changed = sorted(own.iterdir())[2]
    changed.write_bytes(min(own.iterdir()).read_bytes())

    job = service.finish(service.submit())

    assert job.error is not None
    assert job.error.code == "input_changed"
    assert changed.name in job.error.message


def test_an_unexpected_error_is_an_internal_error_and_the_next_job_runs(done: Service) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(phases.METHOD, "embed", lambda _unit: 1 // 0)
        failed = done.finish(done.submit())
    succeeded = done.finish(done.submit())

    assert failed.error is not None
    assert failed.error.code == "internal_error"
    assert "ZeroDivisionError" in failed.error.message
    assert succeeded.status is Status.SUCCEEDED


def test_an_end_that_cannot_be_read_fails_its_job_and_the_next_one_runs(service: Service) -> None:
    job_id = service.submit()
    loop = service.folder.job(job_id) / RESULT
    loop.symlink_to(loop)  # whoever opens it gets an OSError
    other = service.submit(teacher="local-dir:nowhere")

    service.worker().run_until_empty()

    error = service.store.get(job_id).error
    assert error is not None
    assert (error.code, error.phase, error.retryable) == ("internal_error", "check", True)
    assert service.store.get(other).status.is_final
    assert service.store.live_nonces() == set()
