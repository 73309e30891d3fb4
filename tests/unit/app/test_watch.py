"""What is shown of a job, out of its events."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from app.commands import watch as watching
from app.commands.watch import Watch, follow
from app.run_display import RunDisplay, short_bytes, sparkline
from ccd_client.models import Event, QueuePlace


def shown(*events):
    """What stands on a screen that is no terminal after (type, data) were seen."""
    console = Console(file=io.StringIO(), width=100)
    with RunDisplay(console) as display:
        watch = Watch(display)
        for kind, content in events:
            watch.see(Event(type=kind, data=content))
    return console.file.getvalue().splitlines()


def progress(phase, percent, **more):
    return ("job.progress", {"phase": phase, "percent": percent, **more})


def loss(value, phase="train"):
    return ("job.metric", {"name": "loss", "phase": phase, "epoch": 0, "value": value})


def test_a_phase_is_told_with_its_rate_and_the_time_left():
    known = {"done": 1200, "total": 4000, "rate_per_second": 35.12, "eta_seconds": 80}

    assert shown(progress("embed", 12.5, **known)) == [
        "embed         12.5 %  1,200/4,000  35.1 images/s  1:20 left"
    ]


def test_the_loss_is_a_curve_of_its_phase_alone():
    events = [progress("warm_up", 10), loss(9.0, "warm_up"), loss(8.0, "warm_up"), loss(3.0)]

    lines = shown(*events, loss(2.0), loss(1.0), progress("train", 50))

    assert lines == ["warm_up       10.0 %", "train         50.0 %  loss 1 \u2588\u2585\u2581"]


def test_a_loss_that_is_no_number_is_left_out():
    assert shown(loss(None), loss(2.0), progress("train", 1)) == ["train          1.0 %"]


def test_warnings_are_told_as_they_come():
    warning = {"code": "w", "message": "two names lie near each other", "hint": "Rename one."}

    assert shown(("job.warning", warning)) == [
        "warning: two names lie near each other. Rename one."
    ]


def test_a_job_that_is_being_cancelled_says_so():
    state = ("job.state", {"status": "cancelling", "previous": "running"})

    assert shown(
        ("job.snapshot", {"status": "running", "progress": {"phase": "train"}}), state
    ) == [
        "train          0.0 %",
        "cancelling     0.0 %",
    ]


@pytest.mark.parametrize(("grace", "hint"), [(0, "  waits for a worker: start one"), (60, "")])
def test_a_job_that_no_worker_takes_says_so_once_one_would_have_come_up(monkeypatch, grace, hint):
    monkeypatch.setattr(watching, "WORKERS_START_SECONDS", grace)
    monkeypatch.setattr(watching, "POLL_SECONDS", 0)
    place = QueuePlace(position=1, waiting_for="a worker: start one")
    job = SimpleNamespace(status="queued", queue=place, wait=lambda **_: None)
    job.refresh = lambda: setattr(job, "status", "running")
    console = Console(file=io.StringIO(), width=100)

    follow(job, None, RunDisplay(console))

    assert console.file.getvalue() == f"queued         0.0 %  position 1{hint}\n"


@pytest.mark.parametrize(
    ("values", "curve"), [([1, 2, 3], "\u2581\u2585\u2588"), ([5, 5], "\u2581\u2581")]
)
def test_a_curve_is_as_high_as_its_values(values, curve):
    assert sparkline(values) == curve


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")]
)
def test_bytes_are_told_short(count, text):
    assert short_bytes(count) == text
