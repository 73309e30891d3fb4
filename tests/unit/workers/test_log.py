"""The two forms of the log."""

import json
import logging
import sys

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
