"""The parts of `ccd run` that need no service."""

import io
import json
import os
import subprocess
import sys

import pytest
import typer
from rich.console import Console

from app.run_command import Order, parse_classes, parse_config
from app.run_display import RunDisplay, class_table, clock, describe_progress
from app.run_service import known_url, ready_service, running_url
from app.standalone import SERVICE_FILE
from ccd_client import BadSetting
from ccd_client.credentials import USUAL_URL
from ccd_client.models import Progress
from scripted import Scripted, says
from workers.settings import Settings


def shown(renderable):
    console = Console(file=io.StringIO(), width=100)
    console.print(renderable)
    return console.file.getvalue()


def test_classes_are_split_at_commas():
    assert parse_classes("cat, dining table,,bus ") == ["cat", "dining table", "bus"]


def test_classes_may_stand_in_a_file_one_per_line(tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\nsalt, pepper\n")

    assert parse_classes(f"@{tmp_path / 'names.txt'}") == ["cat", "salt, pepper"]


def test_settings_are_read_as_json_where_they_are_json():
    pairs = [
        "alpha=0.2",
        "student=resnet18",
        "background=false",
        'templates=["a {}"]',
        "teacher=a=b",
    ]

    assert parse_config(pairs) == {
        "alpha": 0.2,
        "student": "resnet18",
        "background": False,
        "templates": ["a {}"],
        "teacher": "a=b",
    }


@pytest.mark.parametrize("pair", ["alpha", "=1"])
def test_a_setting_without_name_or_value_is_refused(pair):
    with pytest.raises(typer.BadParameter, match="name=value"):
        parse_config([pair])


def test_a_request_names_a_preset_only_where_one_was_asked_for(tmp_path):
    order = Order(folder=tmp_path, classes=["cat"], out=tmp_path)

    assert order.request() == {"classes": ["cat"]}


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (7200, "2:00:00")])
def test_time_is_told_as_on_a_clock(seconds, text):
    assert clock(seconds) == text


def test_progress_tells_only_what_is_known():
    known = Progress(done=1200, total=4000, rate_per_second=35.12, eta_seconds=80)

    assert describe_progress(known) == "1,200/4,000  35.1 images/s  1:20 left"
    assert describe_progress(Progress(done=1200)) == "1,200"
    assert describe_progress(Progress()) == ""


def test_without_a_terminal_a_phase_is_one_line():
    console = Console(file=io.StringIO())
    with RunDisplay(console) as display:
        for percent in (0, 1, 2):
            display.show("embed", percent)
        display.show("train", 50, "3/9")

    assert console.file.getvalue().splitlines() == [
        "embed          0.0 %",
        "train         50.0 %  3/9",
    ]


def test_without_a_terminal_the_last_line_says_that_all_of_it_is_there():
    console = Console(file=io.StringIO())
    with RunDisplay(console) as display:
        for percent in (0, 40, 100, 100):
            display.show("upload", percent)

    assert console.file.getvalue().splitlines() == ["upload         0.0 %", "upload       100.0 %"]


def test_the_table_counts_labels_and_averages_scores(tmp_path):
    rows = [
        {"labels": ["cat"], "scores": {"cat": 0.9, "bus": 0.1}},
        {"labels": ["cat", "bus"], "scores": {"cat": 0.7, "bus": 0.5}},
    ]
    labels = tmp_path / "labels.ndjson"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))

    table = shown(class_table(labels, ["cat", "bus"], {"cat": 0.65, "bus": None}))

    lines = [line.replace("│", " ").split() for line in table.splitlines()]
    assert ["cat", "2", "0.800", "0.650"] in lines
    assert ["bus", "1", "0.300", "none"] in lines


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.delenv("CCD_API_KEY", raising=False)
    return Settings(data=tmp_path)


def write_service(settings, url="http://127.0.0.1:4711", **changes):
    content = {"url": url, "pid": os.getpid(), **changes}
    (settings.data / SERVICE_FILE).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("http://127.0.0.1:4711", "http://127.0.0.1:4711"),
        ("https://ccd.example.org", USUAL_URL),
        ("http://127.0.0.1@ccd.example.org", USUAL_URL),
        ("http://10.0.0.1:8000", USUAL_URL),
    ],
)
def test_a_file_in_the_data_folder_sends_no_key_to_another_machine(settings, written, taken):
    write_service(settings, written)

    assert known_url(settings, None) == taken


@pytest.mark.parametrize("pid", ["ended", 0, -1, None, "1"])
def test_a_file_whose_process_has_ended_names_no_service(settings, pid):
    if pid == "ended":
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        pid = ended.pid
    write_service(settings, pid=pid)

    assert running_url(settings) is None


@pytest.mark.parametrize("given", ["--key", "CCD_API_KEY"])
def test_a_key_for_no_address_in_particular_is_not_sent_to_the_usual_one(
    settings, monkeypatch, given
):
    key = "key_1.secret" if given == "--key" else None
    if key is None:
        monkeypatch.setenv(given, "key_1.secret")

    with pytest.raises(BadSetting, match="--url"):
        known_url(settings, key)
    write_service(settings)
    assert known_url(settings, key) == "http://127.0.0.1:4711"


def test_whoever_listens_at_the_usual_address_is_shown_no_key(settings, monkeypatch):
    somebody = Scripted()
    somebody.will(says({}))
    monkeypatch.setattr("app.run_service.USUAL_URL", somebody.url)
    found = ready_service(
        None, "key_1.secret", folder=settings.data, settings=settings, say=lambda _: None
    )

    with pytest.raises(BadSetting, match=somebody.url), found:
        pass

    somebody.close()
    assert [request.path for request in somebody.requests] == ["/readyz"]
    assert "authorization" not in somebody.requests[0].headers
