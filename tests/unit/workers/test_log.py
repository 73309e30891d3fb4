"""The two forms of the log."""

import json
import logging
import sys
from pathlib import Path

import pytest
import structlog

from workers import log


@pytest.fixture(autouse=True)
def restore_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_outside_a_terminal_an_event_is_one_json_object_a_line(capsys):
    log.configure()
    structlog.get_logger().info("unit.ended", seconds=1.5)

    [line] = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["seconds"], event["level"]) == ("unit.ended", 1.5, "info")
    assert event["timestamp"].endswith("Z")


def test_in_a_terminal_an_event_is_written_for_people(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log.configure("auto")
    structlog.get_logger().info("unit.ended")

    assert not capsys.readouterr().err.startswith("{")


def test_bound_variables_are_on_every_line(capsys):
    log.configure("json")
    structlog.contextvars.bind_contextvars(record="job_1")
    structlog.get_logger().info("unit.ended")
    logging.getLogger("celery").warning("lost %s", "contact")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["record"] for line in lines] == ["job_1", "job_1"]
    assert lines[1]["event"] == "lost contact"


def test_an_exception_is_logged_with_its_trace_in_one_line(capsys):
    log.configure("json")
    try:
        {}["nothing here"]
    except KeyError:
        structlog.get_logger().exception("unit.failed")

    [line] = capsys.readouterr().err.splitlines()
    assert "KeyError: 'nothing here'" in json.loads(line)["exception"]


def test_configuring_twice_writes_every_line_once(capsys):
    log.configure("json")
    log.configure("json")
    structlog.get_logger().info("once")

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_debug_events_are_left_out(capsys):
    log.configure("json")
    structlog.get_logger().debug("detail")

    assert capsys.readouterr().err == ""


def written(capsys, *, private=(), **values):
    log.configure("json", private=private)
    structlog.get_logger().warning("said", **values)
    [line] = capsys.readouterr().err.splitlines()
    return json.loads(line)


def test_the_password_of_an_address_is_left_out(capsys):
    event = written(capsys, error="cannot reach rediss://ccd:hunter2@db:6379/0, trying again")

    assert event["error"] == "cannot reach rediss://***@db:6379/0, trying again"


@pytest.mark.parametrize("name", ["password", "API_KEY", "apikey", "token", "client_secret"])
def test_a_value_whose_name_says_secret_is_left_out(capsys, name):
    assert written(capsys, **{name: "hunter2"})[name] == "***"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("cannot read '/home/ann/photos/my child.jpg': gone", "cannot read '[path]': gone"),
        ("cannot read /home/ann/photos/my child.jpg: gone", "cannot read [path]"),
        ("/home/ann/photos/a/b.jpg\nnext line", "[path]\nnext line"),
        (
            "/home/ann/photos-of-others and /srv/data/x",
            "/home/ann/photos-of-others and /srv/data/x",
        ),
    ],
)
def test_what_lies_in_a_folder_of_the_users_is_not_named(capsys, said, kept):
    assert written(capsys, private=[Path("/home/ann/photos")], error=said)["error"] == kept


def test_values_that_are_no_text_are_cleaned_too(capsys):
    event = written(capsys, private=[Path("/photos")], at=Path("/photos/ann.jpg"), seconds=1.5)

    assert (event["at"], event["seconds"]) == ("[path]", 1.5)


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_trace_is_cleaned_in_either_form(capsys, format):
    log.configure(format, private=[Path("/photos")])
    try:
        Path("/photos/ann.jpg").read_bytes()
    except OSError:
        structlog.get_logger().exception("unit.failed")

    said = capsys.readouterr().err
    assert "No such file or directory: '[path]'" in said
    assert "ann.jpg" not in said
    assert "test_log.py" in said


def test_the_last_lines_are_kept_in_a_few_words(capsys):
    log.configure("json", private=[Path("/photos")])
    structlog.contextvars.bind_contextvars(record="job_1", unit=3)
    for number in range(log.RECENT_LINES + 1):
        structlog.get_logger().warning("heartbeat.unheard", number=number)
    try:
        Path("/photos/ann.jpg/no").read_bytes()
    except OSError:
        logging.getLogger("somebody").exception("it broke")

    lines = log.recent_lines(forget=True)

    assert [line[8:] for line in lines[:-1]] == [
        f" warning heartbeat.unheard number={number}" for number in range(2, log.RECENT_LINES + 1)
    ]
    assert lines[-1][8:] == (
        " error it broke error=FileNotFoundError: [Errno 2] No such file or directory: '[path]'"
    )
    assert log.recent_lines() == ()


def test_a_path_of_the_service_is_left_out_of_a_brief_line():
    event = {"timestamp": "2026-11-25T10:00:01Z", "level": "error", "event": "in /srv/ccd/x, 3/4"}

    assert log.brief(None, "", event) == "10:00:01 error in [path] 3/4"


def test_without_a_log_there_are_no_last_lines():
    logging.getLogger().handlers[:] = []

    assert log.recent_lines() == ()
