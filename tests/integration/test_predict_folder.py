"""`ccd predict` gives the rows of the service, names what it cannot use, and holds little."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from app.cli import app
from demo.world import write_world
from models.portable import save_student
from models.student import build_student
from tests.serving import ROOT, wait_until
from tests.store_calls import worker_of
from workers import folder_run
from workers.files import MANIFEST, DataFolder, read_json
from workers.folder_run import PREDICT_BATCH, FolderRun, PredictFailed, open_student
from workers.jobs import Kind, Lane, Phase, Status, new_id
from workers.label_rows import rounded
from workers.paths import FileRefused, FoundFile, walk
from workers.predict_folder import main
from workers.rows import iter_manifest
from workers.sandbox import Sandbox
from workers.settings import Settings
from workers.store import Store
from workers.thresholds import Thresholds, add_version

NAMES = ["=ant", "bee; \\ honey", "cat"]
STUDENT = "stu_1"
IMAGES = 21


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Scenes in two folders, one of them twice; notes beside them."""
    folder = tmp_path_factory.mktemp("scenes")
    write_world(folder, count=IMAGES, seed=6)
    (folder / "truth.json").unlink()
    first = min(folder.rglob("*.jpg"))
    (folder / "more").mkdir()
    (folder / "more" / "again.jpg").write_bytes(first.read_bytes())
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with a student as a job leaves it."""
    folder = DataFolder(tmp_path_factory.mktemp("data"))
    folder.create()

    def make(staging):
        network = build_student("resnet18", 3, size=64, weights="random", seed=2)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            network.train()(torch.randn(8, 3, 64, 64, generator=generator))
        save_student(
            staging / "student.safetensors",
            network.eval(),
            classes=[{"name": name} for name in NAMES],
            thresholds=[0.5, None, 0.4],
        )
        listed = {"classes": NAMES, "thresholds": [0.5, None, 0.4]}
        text = json.dumps({**listed, "threshold_basis": "pseudo_f1"})
        (staging / "student.json").write_text(text)

    folder.produce_at(folder.student(STUDENT), make, nonce="n")
    return folder


@pytest.fixture
def weights(data):
    return data.student(STUDENT) / "student.safetensors"


@pytest.fixture
def predict(data, tmp_path, monkeypatch, capfd):
    """Runs the command: its exit code, the rows it wrote, what it said."""
    monkeypatch.setenv("CCD_DATA", str(data.root))
    monkeypatch.setenv("CCD_THREADS", "1")

    def predict(student, folder, *options):
        out = tmp_path / "rows.ndjson"
        code = main([*options, f"--out={out}", "--", str(student), str(folder)])
        rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else None
        return code, rows, capfd.readouterr().err

    return predict


def predicted_by_the_service(store, data, scenes):
    """What a worker publishes for the same student and folder."""
    settings = Settings(data=data.root, allowed_roots=[scenes], threads=1)
    dataset_id, prediction_id = new_id("ds"), new_id("pred")
    source = {"kind": "folder", "path": str(scenes)}
    request = {"student_id": STUDENT, "dataset_id": dataset_id}
    register, score = Phase("register", Lane.IO), Phase("predict", Lane.IO)
    store.create(Kind.DATASET, dataset_id, request={"source": source}, phases=[register])
    store.create(
        Kind.PREDICTION, prediction_id, request=request, phases=[score], waits_for=dataset_id
    )
    worker_of(store, settings).run_until_empty()
    assert store.get(prediction_id).status is Status.SUCCEEDED, store.get(prediction_id).error
    output = data.phase(store.outputs(prediction_id)["predict", 0])
    probs = load_file(output / "scores.safetensors")["probs"].tolist()
    images = iter_manifest(data.dataset(dataset_id) / MANIFEST)
    return [(image["image_id"], image["path"], probs[image["content"]]) for image in images]


def test_rows_are_those_of_the_service_to_the_last_digit(
    store: Store, data, scenes, weights, predict
):
    expected = predicted_by_the_service(store, data, scenes)

    code, rows, said = predict(weights, scenes)

    assert (code, len(rows)) == (0, IMAGES + 1), said
    for row, (image_id, path, probs) in zip(rows, expected, strict=True):
        assert (row["image_id"], row["path"]) == (image_id, path)
        assert list(row["scores"].items()) == list(zip(NAMES, map(rounded, probs), strict=True))
        over = [probs[0] >= 0.5, False, probs[2] >= 0.4]
        assert row["labels"] == [
            name for name, is_there in zip(NAMES, over, strict=True) if is_there
        ]
        assert row["thresholds_version"] == 1
    assert len({tuple(row["labels"]) for row in rows}) > 1, "thresholds that decide nothing"


def test_the_command_needs_no_service_and_prints_csv(scenes, weights, predict, tmp_path):
    _, rows, _ = predict(weights, scenes)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CCD_")}

    found = subprocess.run(
        [sys.executable, "-m", "app.cli", "predict", weights, scenes],
        cwd=ROOT,
        env=environment | {"CCD_DATA": str(tmp_path / "nothing"), "CCD_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    header, *table = csv.reader(found.stdout.splitlines())
    assert header == ["image_id", "path", "labels", "thresholds_version", "'=ant", *NAMES[1:]]
    assert [line[1] for line in table] == [row["path"] for row in rows]
    assert [list(map(float, line[4:])) for line in table] == [
        list(row["scores"].values()) for row in rows
    ]
    assert "22 images, 1 of them with the bytes of another; 1 files skipped" in found.stderr
    assert 'skipped "notes.txt": unsupported_format' in found.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_student_of_the_data_folder_labels_with_the_thresholds_in_force(data, scenes, predict):
    before = predict(STUDENT, scenes)[1]
    values = {"=ant": 0.0, NAMES[1]: 0.0, "cat": None}
    wanted = Thresholds(values=values, basis="manual")
    add_version(data, STUDENT, wanted, after=1, now="2026", exports=None)

    after = predict(STUDENT, scenes)[1]

    assert {row["thresholds_version"] for row in before} == {1}
    assert {row["thresholds_version"] for row in after} == {2}
    assert all(row["labels"] == NAMES[:2] for row in after)
    assert [row["scores"] for row in after] == [row["scores"] for row in before]


def test_images_that_cannot_be_used_are_told_and_change_the_exit_code(
    scenes, weights, predict, tmp_path
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    whole = min(scenes.rglob("*.jpg")).read_bytes()
    (folder / "a.jpg").write_bytes(whole)
    (folder / "b\x1b[31m.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "c.png").write_bytes(b"")
    (folder / "d.jpg").write_bytes(whole)

    code, rows, said = predict(weights, folder)

    assert code == 5
    assert [row["path"] for row in rows] == ["a.jpg", "d.jpg"]
    assert 'skipped "b\\u001b[31m.jpg": truncated' in said
    assert 'skipped "c.png": empty_file' in said
    assert "2 files skipped (empty_file 1, truncated 1)" in said


def test_a_folder_without_an_image_is_a_failure(weights, predict, tmp_path):
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "note.txt").write_text("no picture")

    code, rows, said = predict(weights, folder)

    assert (code, rows) == (1, [])
    assert "no image that can be used" in said


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ("stu_0", "there is no student stu_0 in"),
        ("nowhere.safetensors", "there is no file nowhere.safetensors"),
        (__file__, "not a student's file"),
    ],
)
def test_what_is_no_student_is_refused(scenes, predict, student, said):
    code, rows, told = predict(student, scenes)

    assert (code, rows) == (1, None)
    assert said in told
    assert "Traceback" not in told


@pytest.mark.parametrize("arguments", [["x"], ["x", "nowhere"], ["x", ".", "--format", "xml"]])
def test_a_wrong_command_line_is_told(arguments, monkeypatch):
    monkeypatch.setattr("app.cli._become", Mock(side_effect=AssertionError("it was started")))

    told = CliRunner().invoke(app, ["predict", *arguments])

    assert told.exit_code == 2
    assert "Usage: " in told.stderr
    assert "Traceback" not in told.stderr


def test_an_interrupt_leaves_no_half_of_a_file(scenes, weights, tmp_path):
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(min(scenes.rglob("*.jpg")).read_bytes())
    out = tmp_path / "rows.csv"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, f"--out={out}", "--", weights, folder],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    wait_until((tmp_path / ".rows.csv.part").exists)

    process.send_signal(signal.SIGINT)

    assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slow"]


#: The command, with a folder whose listing never ends.
SLOW = """
import sys, time
from workers import predict_folder
def walk(*_):
    while True:
        time.sleep(0.05)
    yield
predict_folder.walk = walk
sys.exit(predict_folder.main())
"""


def test_a_closed_pipe_is_no_failure_to_tell(scenes, weights, data):
    found = subprocess.run(
        f"{sys.executable} -m app.cli predict --format ndjson {weights} {scenes} | head -c 10",
        shell=True,
        cwd=ROOT,
        env=os.environ | {"CCD_DATA": str(data.root)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.stdout == '{"image_id'
    assert "Traceback" not in found.stderr
    assert "Error" not in found.stderr


class Endless:
    """Verdicts on more and more files, each with other bytes; counts how many were asked for."""

    def __init__(self, image, folder, count):
        self.asked = 0
        self._image, self._folder, self._count = image, folder, count

    def __iter__(self):
        with Sandbox(max_pixels=10**6, children=1) as sandbox:
            for i in range(self._count):
                path = self._folder / f"{i:04d}.jpg"
                path.write_bytes(self._image + str(i).encode())  # what follows a JPEG is nothing
                yield from sandbox.verdicts([FoundFile(path.name.encode(), path.name, bytes(path))])
                self.asked += 1


def test_rows_come_while_the_folder_is_still_being_listed(scenes, weights, data, tmp_path):
    count = 5 * PREDICT_BATCH
    files = Endless(min(scenes.rglob("*.jpg")).read_bytes(), tmp_path, count)
    run = FolderRun(open_student(str(weights), data), files, threads=1)

    batches = run.batches()
    first = next(batches)

    assert len(first) == PREDICT_BATCH
    assert files.asked <= 3 * PREDICT_BATCH + 1
    assert len(first) + sum(map(len, batches)) == count


def test_an_image_that_changes_under_our_eyes_has_no_row_and_the_others_have(
    scenes, weights, data, tmp_path, monkeypatch
):
    paths = sorted(scenes.glob("scene_*.jpg"))[:3]
    for i, path in enumerate(paths):
        (tmp_path / f"{i}.jpg").write_bytes(path.read_bytes())
    read = folder_run.ImageFiles.read

    def changed(files, index):
        if index == 1:
            (tmp_path / "1.jpg").write_bytes(paths[0].read_bytes())
        return read(files, index)

    monkeypatch.setattr(folder_run.ImageFiles, "read", changed)
    with Sandbox(max_pixels=10**6, children=1) as sandbox:
        verdicts = sandbox.verdicts(walk(tmp_path, [tmp_path]))
        run = FolderRun(open_student(str(weights), data), verdicts, threads=1)
        rows = [row for batch in run.batches() for row in batch]

    assert [row["path"] for row in rows] == ["0.jpg", "2.jpg"]
    ((file, refusal),) = run.skipped
    assert (file.name, refusal.code, run.has_bad_images) == ("1.jpg", "input_changed", True)


def test_a_damaged_version_of_the_thresholds_is_refused(data, weights, tmp_path):
    other = DataFolder(tmp_path)
    other.create()
    own = other.student("stu_2")
    other.produce_at(
        own,
        lambda s: [
            os.link(f, s / f.name) for f in weights.parent.iterdir() if f.name != "MANIFEST.json"
        ],
        nonce="n",
    )
    broken = own.parent / "thresholds" / "000002"
    broken.mkdir(parents=True)
    (broken / "thresholds.json").write_text(json.dumps(read_json(own / "student.json")))

    with pytest.raises(PredictFailed, match="no longer has its checksums"):
        open_student("stu_2", other)


def test_a_file_named_like_a_student_is_taken_as_the_file(weights, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("stu_9").write_bytes(weights.read_bytes())

    assert open_student("stu_9", data).names == NAMES


def test_the_classes_of_a_job_s_student_keep_the_order_in_which_they_were_asked_for(
    data, scenes, predict
):
    """Its file has them in the order of their names, whatever the job was asked."""
    asked = ["cat", "=ant", "bee; \\ honey"]
    own = data.job("job_1")
    own.mkdir(parents=True, exist_ok=True)
    _, before, _ = predict(STUDENT, scenes)
    text = json.dumps({"request": {"classes": [{"name": name} for name in asked]}})
    (own / "request.json").write_text(text)

    _, rows, _ = predict(STUDENT, scenes)

    (own / "request.json").unlink()
    assert list(before[0]["scores"]) == NAMES
    assert [list(row["scores"]) for row in rows] == [asked] * len(rows)
    for row, other in zip(rows, before, strict=True):
        assert row["scores"] == other["scores"]
        assert sorted(row["labels"]) == sorted(other["labels"])


def test_a_refusal_in_the_middle_moves_no_score(weights, data, scenes, monkeypatch):
    """Content 1 of 3 is refused after its inspection; rows 0 and 2 keep their own scores."""
    student = open_student(str(weights), data)

    def rows():
        with Sandbox(max_pixels=10**6, children=1) as sandbox:
            files = [file for file in walk(scenes, [scenes]) if b"scene_" in file.raw][:3]
            run = FolderRun(student, sandbox.verdicts(files), threads=1)
            return {row["path"]: row["scores"] for batch in run.batches() for row in batch}

    whole = rows()
    assert len(whole) == 3
    view = FolderRun._view

    def refusing(run, content):
        return FileRefused("undecodable", "no") if content == 1 else view(run, content)

    monkeypatch.setattr(FolderRun, "_view", refusing)
    part = rows()

    assert list(part) == list(whole)[::2]
    for path, scores in part.items():
        assert list(scores.values()) == pytest.approx(list(whole[path].values()), abs=1e-6)
