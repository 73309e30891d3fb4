"""`ccd run`: one command from a folder to labels and a student, and every way it can end."""

import csv
import json
import os
import signal
import subprocess
import sys

import onnx
import psutil
import pytest

from demo.world import CLASSES, write_world
from tests.serving import ROOT, Serve, survivors, wait_until

SHORT = ("--preset", "tiny", "--config", "warm_up_epochs=1", "--config", "train_epochs=1")
WANTED = ("dog", "cat", "bus")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_world(folder, count=24, seed=6)
    (folder / "truth.json").unlink()
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """One that may read no folder of ours."""
    serve = Serve(tmp_path_factory.mktemp("service") / "data", "--port", "0").wait_until_ready()
    yield serve
    serve.end()


def take_interrupts():
    """A shell lets what it starts in the background ignore SIGINT, and all that comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Run:
    """One `ccd run` and what it said."""

    def __init__(self, folder, out, *options, data, keys):
        self.out = out
        self.said = out.with_suffix(".txt")
        command = [sys.executable, "-m", "app.cli", "run", folder, "--out", out, *options]
        self.environment = {**os.environ, "CCD_DATA": str(data), **keys}
        self.environment.pop("CCD_URL", None)
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
                preexec_fn=take_interrupts,  # noqa: PLW1509 - one call, no lock taken
            )

    @property
    def text(self):
        return self.said.read_text()

    def wait(self, seconds=240):
        return self.process.wait(seconds)


@pytest.fixture
def run(tmp_path):
    started = []

    def run(folder, *options, data=tmp_path / "data", **keys):
        out = tmp_path / f"out{len(started)}"
        started.append(Run(folder, out, *options, data=data, keys=keys))
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            family = psutil.Process(one.process.pid).children(recursive=True)
            one.process.kill()
            survivors(family)
        one.process.wait()


def test_a_folder_becomes_labels_and_a_student_with_a_service_of_its_own(run, scenes, tmp_path):
    kept = tmp_path / "credentials.json"
    keys = {"CCD_AUTH": "true", "CCD_CREDENTIALS": str(kept)}
    one = run(scenes, "--classes", ",".join(WANTED), *SHORT, **keys)
    wait_until(lambda: "\njob job_" in one.text, seconds=120)
    assert_other_commands_are_let_in(one)

    assert one.wait() == 0, one.text
    assert json.loads(kept.read_text()) == {}
    rows = [json.loads(line) for line in (one.out / "labels.ndjson").read_text().splitlines()]
    assert len(rows) == 24
    assert all(set(row["scores"]) == set(WANTED) for row in rows)
    with (one.out / "labels.csv").open() as file:
        assert len(list(csv.reader(file))) == 25
    assert (one.out / "student.safetensors").stat().st_size > 1_000_000
    onnx.checker.check_model(one.out / "student.onnx")
    assert (one.out / "model-card.md").read_text().startswith("# Model card\n")
    assert (one.out / "report.html").read_text().startswith("<!doctype html>")
    files = ("student.safetensors", "student.onnx", "model-card.md", "report.html")
    assert all(name in one.text for name in (*WANTED, "threshold", *files))
    assert "Traceback" not in one.text
    assert_predicts_the_same(one, scenes, rows)


def assert_other_commands_are_let_in(one):
    """`ccd jobs list` beside a run finds the run's own service, and its key."""
    command = [sys.executable, "-m", "app.cli", "jobs", "list"]
    listed = subprocess.run(
        command, cwd=ROOT, env=one.environment, capture_output=True, text=True, check=False
    )
    assert listed.returncode == 0, listed.stderr
    assert one.text.partition("\njob ")[2].partition(",")[0] in listed.stdout


def assert_predicts_the_same(one, scenes, rows):
    """`ccd predict` with the student that was saved, on the folder that it was trained on."""
    student, again = one.out / "student.safetensors", one.out / "again.ndjson"
    command = [sys.executable, "-m", "app.cli", "predict", student, scenes, "--out", again]
    subprocess.run(command, cwd=ROOT, check=True)
    predicted = [json.loads(line) for line in again.read_text().splitlines()]
    for row, found in zip(rows, predicted, strict=True):
        assert (found["image_id"], found["path"]) == (row["image_id"], row["path"])
        assert found["scores"] == pytest.approx(row["scores"], abs=1e-5)
        assert sorted(found["labels"]) == sorted(row["labels"])
    assert any(row["labels"] for row in rows)


def test_a_service_that_runs_gets_the_files_it_cannot_read(run, service, scenes):
    one = run(scenes, "--classes", "dog,zebra crossing", "--url", service.url(), *SHORT)

    assert one.wait() == 1  # a word that the tiny teacher never saw
    assert "upload" in one.text
    assert "crossing" in one.text


def test_a_failed_job_is_told_with_its_code(run, service, tmp_path):
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "note.txt").write_text("no picture")

    one = run(folder, "--classes", "dog,cat", "--url", service.url(), *SHORT)

    assert one.wait() == 1
    assert "no_images" in one.text


def test_a_refused_request_is_told_with_its_field(run, service, scenes):
    one = run(scenes, "--classes", "dog,cat", "--url", service.url(), "--config", "alpha=1.4")

    assert one.wait() == 2
    assert "alpha" in one.text
    assert "1.4" in one.text


def test_an_address_where_nobody_answers_is_told(run, scenes):
    one = run(scenes, "--classes", "dog,cat", "--url", "http://127.0.0.1:1")

    assert one.wait() == 3
    assert "http://127.0.0.1:1" in one.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_with_nobody_to_ask_cancels_the_job(run, service, scenes, number):
    long = ("--preset", "tiny", "--config", "train_epochs=200")
    one = run(scenes, "--classes", ",".join(CLASSES[:3]), "--url", service.url(), *long)
    wait_until(lambda: "\njob job_" in f"\n{one.text}" and "%" in one.text, seconds=120)

    one.process.send_signal(number)

    assert one.wait() == 4
    assert "the job was cancelled" in one.text
