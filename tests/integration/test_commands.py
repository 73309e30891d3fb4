"""The commands on a running service: what they print, and how they end."""

import csv
import io
import json
import subprocess
import sys
from subprocess import PIPE
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from app.cli import app
from app.commands.errors import outcome
from app.exit_codes import Exit
from ccd_client import ServerFault, ServiceUnreachable, StorageFull, Unavailable, WaitTimedOut
from scripted import HANGS_UP, Scripted, says
from tests.integration.conftest import COLUMNS, PATHS
from tests.serving import ROOT


@pytest.fixture
def ccd(api, monkeypatch, tmp_path):
    """A command line whose service is the one of the tests."""
    monkeypatch.setenv("CCD_URL", str(api.base_url))
    monkeypatch.setenv("CCD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CCD_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("CCD_API_KEY", raising=False)
    runner = CliRunner()
    with capture_logs():  # the service is a thread of this process, and says on its standard output
        yield lambda *words: runner.invoke(app, [str(word) for word in words])


@pytest.fixture
def scored(api):
    """A job whose labels are there."""
    job_id = api.new_job(name="street")
    api.run_until(job_id, "score")
    return job_id


def test_a_folder_of_the_server_becomes_a_dataset(ccd, api):
    made = ccd("datasets", "create", api.root, "--on-server", "--name", "photos")
    assert made.exit_code == 0, made.output
    dataset_id = made.stdout.strip()
    api.register(dataset_id)

    assert f"{dataset_id}  ready   5" in ccd("datasets", "list").stdout
    shown = json.loads(ccd("datasets", "show", dataset_id, "--json").stdout)
    assert (shown["name"], shown["counts"]["accepted"]) == ("photos", 5)
    images = json.loads(ccd("datasets", "images", dataset_id, "--json").stdout)
    assert [image["path"] for image in images] == PATHS
    assert "unsupported_format" in ccd("datasets", "skipped", dataset_id).stdout


def test_a_folder_of_this_machine_is_sent(ccd, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"some bytes")

    made = ccd("datasets", "create", tmp_path / "photos", "--json")

    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["status"] == "registering"
    assert "upload" in made.stderr


def test_an_upload_that_is_too_large_is_told_by_the_service(ccd, tmp_path):
    with (tmp_path / "large.zip").open("wb") as file:
        file.truncate(40_000_000)  # 2 MB are allowed here

    told = ccd("datasets", "create", tmp_path / "large.zip")

    assert told.exit_code == 2
    assert "the service refused: " in told.stderr
    assert "2,000,000" in told.stderr


def test_what_is_deleted_is_asked_for_first(ccd, api):
    dataset_id = api.new_dataset()

    refused = ccd("datasets", "delete", dataset_id)
    deleted = ccd("datasets", "delete", dataset_id, "--yes")

    assert (refused.exit_code, deleted.exit_code) == (2, 0)
    assert "--yes" in refused.stderr
    assert "no maps and no new yolo_cls exports" in refused.stderr
    assert ccd("datasets", "show", dataset_id).exit_code == 2


def test_a_job_is_made_shown_and_cancelled(ccd, api):
    dataset_id = api.new_dataset()

    made = ccd(
        "jobs", "create", "--dataset", dataset_id, "--classes", "cat,dog", "--preset", "tiny"
    )
    job_id = made.stdout.strip()

    assert made.exit_code == 0, made.output
    assert f"{job_id}  queued" in ccd("jobs", "list").stdout
    assert "cat, dog" in ccd("jobs", "show", job_id).stdout
    assert ccd("jobs", "cancel", job_id).stdout == f"{job_id} is cancelled\n"
    again = ccd("jobs", "cancel", job_id)
    assert again.exit_code == 2
    assert again.stderr == f"ccd: the service refused: {job_id} is cancelled already\n"
    watched = ccd("jobs", "watch", job_id)
    assert (watched.exit_code, watched.stderr) == (4, "ccd: the job was cancelled\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("jobs", "watch"), "`ccd jobs cancel {}` ends it"),
        (("jobs", "watch", "--json"), "`ccd jobs watch {}` shows it"),
    ],
)
def test_who_ends_a_watch_hears_that_the_job_goes_on(ccd, api, monkeypatch, words, told):
    job_id = api.new_job()
    for place in ("app.commands.watch.follow", "ccd_client.Job.wait"):
        monkeypatch.setattr(place, Mock(side_effect=KeyboardInterrupt))

    left = ccd(*words, job_id)

    assert left.exit_code == 130
    assert f"{job_id} goes on: " in left.stderr
    assert told.format(job_id) in left.stderr


def test_who_ends_a_wait_hears_how_to_look_again(ccd, api, monkeypatch):
    monkeypatch.setattr("ccd_client.Dataset.wait", Mock(side_effect=KeyboardInterrupt))

    left = ccd("datasets", "create", api.root, "--on-server", "--wait")

    assert left.exit_code == 130
    assert "goes on: `ccd datasets show ds_" in left.stderr


def test_a_call_that_is_made_again_is_told_at_once(ccd):
    service = Scripted()
    service.will(says({}), HANGS_UP, HANGS_UP, says({"data": [], "next_cursor": None}))

    listed = ccd("jobs", "list", "--url", service.url)

    service.close()
    assert listed.exit_code == 0, listed.output
    assert listed.stderr.count("; trying again\n") == 1


def test_what_a_job_would_take_is_told_and_nothing_is_made(ccd, api):
    words = ("--dataset", api.new_dataset(), "--classes", "cat,dog", "--preset", "tiny")

    told = ccd("jobs", "estimate", *words)

    assert told.exit_code == 0, told.output
    assert "time, likely" in told.stdout
    assert "basis" in told.stdout
    assert ccd("jobs", "list").stderr == "none\n"


def test_a_cancelled_job_is_tried_again_and_deleted(ccd, api):
    job_id = api.new_job()
    ccd("jobs", "cancel", job_id)

    again = ccd("jobs", "retry", job_id).stdout.strip()

    assert json.loads(ccd("jobs", "show", again, "--json").stdout)["retry_of"] == job_id
    assert ccd("jobs", "delete", again, "--yes").exit_code == 2
    assert json.loads(ccd("jobs", "delete", job_id, "--yes", "--json").stdout)["deleted"]
    assert ccd("jobs", "show", job_id).exit_code == 2


@pytest.mark.parametrize("words", [("jobs", "list"), ("jobs", "events")])
def test_a_reader_that_has_seen_enough_is_no_fault(ccd, api, words):
    """Whether lines are written as they come, or all at the end of the process."""
    job_id = api.new_job()
    api.store.cancel(job_id)
    words = [*words, *([job_id] if words[1] == "events" else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", *words], stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    process.stdout.close()

    assert (process.stderr.read(), process.wait(60)) == (b"", 1)
    process.stderr.close()


def test_the_log_and_the_events_of_a_job_are_lines(ccd, scored):
    log = ccd("jobs", "logs", scored)
    followed = ccd("jobs", "logs", scored, "-f", "--json")

    assert log.exit_code == 0, log.output
    assert "job.succeeded" in log.stdout
    lines = [json.loads(line) for line in followed.stdout.splitlines()]
    assert [line["event"] for line in lines][-1] == "job.succeeded"
    assert len(log.stdout.splitlines()) == len(lines)


def test_a_job_that_has_ended_is_watched_to_its_end(ccd, scored):
    watched = ccd("jobs", "watch", scored)
    events = ccd("jobs", "events", scored, "--json")

    assert watched.exit_code == 0, watched.output
    assert f"{scored} succeeded, student stu_" in watched.stdout
    kinds = [json.loads(line)["type"] for line in events.stdout.splitlines()]
    assert (kinds[0], kinds[-1]) == ("job.snapshot", "job.done")


def test_wrong_values_are_told_in_the_words_of_the_service(ccd, api):
    told = ccd(
        *("jobs", "create", "--dataset", api.new_dataset(), "--classes", "cat,Cat"),
        *("--config", "alpha=1.4"),
    )

    assert told.exit_code == 2
    assert told.stderr.startswith("ccd: the service refused: /classes")
    assert "Traceback" not in told.output


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "show", "job_none"),
        ("datasets", "show", "ds_none"),
        ("students", "show", "stu_none"),
        ("predictions", "show", "pred_none"),
        ("labels", "job_none"),
        ("export", "job_none", "--format", "csv"),
        ("jobs", "show", "../../etc"),
    ],
)
def test_what_is_not_there_is_refused(ccd, words):
    told = ccd(*words)

    assert told.exit_code == 2
    assert told.stderr.startswith("ccd: the service refused: ")
    assert told.exception is None or isinstance(told.exception, SystemExit)


def test_an_address_where_nobody_answers_is_exit_code_3(ccd):
    told = ccd("jobs", "list", "--url", "http://127.0.0.1:1")

    assert told.exit_code == 3
    assert "no service is ready at http://127.0.0.1:1" in told.stderr


@pytest.mark.parametrize("address", ["nonsense", "ftp://host"])
def test_an_address_that_is_none_is_a_wrong_command_line(ccd, address):
    told = ccd("jobs", "list", "--url", address)

    assert told.exit_code == 2
    assert address in told.stderr


def test_labels_are_a_table_csv_or_lines(ccd, scored, tmp_path):
    table = ccd("labels", scored).stdout
    rows = list(csv.reader(io.StringIO(ccd("labels", scored, "--format", "csv").stdout)))
    lines = ccd("labels", scored, "--json").stdout.splitlines()
    saved = ccd("labels", scored, "--out", tmp_path / "labels.csv")

    assert "HIGHEST SCORES" in table
    assert len(rows) == 6
    assert [json.loads(line)["path"] for line in lines] == PATHS
    assert set(json.loads(lines[0])["scores"]) == set(COLUMNS)
    assert saved.stdout == f"{tmp_path / 'labels.csv'}\n"
    assert (tmp_path / "labels.csv").stat().st_size > 100


def test_labels_are_filtered_and_sorted_by_the_service(ccd, scored):
    words = ("labels", scored, "--class", "zebra", "--min-score", "0.3", "--sort", "-score:zebra")

    lines = ccd(*words, "--json").stdout.splitlines()

    scores = [json.loads(line)["scores"]["zebra"] for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.3
    told = ccd("labels", scored, "--sort", "beauty")
    assert told.exit_code == 2
    assert "beauty" in told.stderr


def test_names_cannot_move_the_cursor_of_a_terminal(ccd, scored):
    table = ccd("labels", scored).stdout

    assert "c,\\n.png" in table
    assert len(table.splitlines()) == 6


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--class", "zebr"), "class"),
        (("--min-score", 0.5, "--max-score", 0.4), "min_score"),
        (("--label-count", -1), "label_count"),
        (("--disagree", "student,student"), "disagree"),
    ],
)
def test_an_export_is_filtered_as_labels_are(ccd, scored, options, field):
    told = ccd("export", scored, "--format", "csv", *options)

    assert told.exit_code == 2
    assert f"/filters/{field}" in told.stderr


def test_a_student_is_shown_and_saved(ccd, scored, tmp_path):
    student_id = scored.replace("job_", "stu_")

    assert f"{student_id}  {scored}" in ccd("students", "list").stdout
    assert "zebra" in ccd("students", "show", student_id).stdout
    saved = ccd("students", "download", student_id, "--out", tmp_path / "s.safetensors")
    assert saved.stdout == f"{tmp_path / 's.safetensors'}\n"
    assert (tmp_path / "s.safetensors").stat().st_size > 4000


def test_a_student_is_saved_as_onnx_where_the_name_says_so(api, ccd, scored, tmp_path):
    api.export(scored)

    ccd("students", "download", scored.replace("job_", "stu_"), "--out", tmp_path / "s.onnx")

    assert (tmp_path / "s.onnx").read_bytes().startswith(b"\x08\x08")


def test_a_file_that_cannot_be_written_is_no_job_that_failed(ccd, scored, tmp_path):
    (tmp_path / "file").write_bytes(b"")

    told = ccd("labels", scored, "--out", tmp_path / "file" / "labels.csv")

    assert told.exit_code == 5, told.output
    assert "labels.csv" in told.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServerFault(500, {}, {}), Exit.BROKE_OFF),
        (StorageFull(507, {}, {}), Exit.BROKE_OFF),
        (Unavailable(503, {}, {}), Exit.NO_SERVICE),
        (ServiceUnreachable("nobody"), Exit.NO_SERVICE),
        (WaitTimedOut("it goes on"), Exit.BROKE_OFF),
    ],
)
def test_only_a_service_that_is_not_there_is_none(error, code):
    assert outcome(error)[1] is code


def test_a_student_is_asked_about_files(ccd, scored, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"some bytes")
    student_id = scored.replace("job_", "stu_")

    made = ccd("predictions", "create", student_id, tmp_path / "a.jpg")

    assert made.exit_code == 0, made.output
    assert student_id in ccd("predictions", "show", made.stdout.strip()).stdout
    assert ccd("predictions", "create", student_id).exit_code == 2


def test_nothing_is_none_and_workers_are_listed(ccd):
    assert ccd("workers").stderr == "none\n"
    assert json.loads(ccd("workers", "--json").stdout) == []


def test_every_command_tells_its_exit_codes():
    runner = CliRunner()
    commands = [
        *(["datasets", name] for name in ("create", "list", "show", "images", "skipped", "delete")),
        *(["jobs", name] for name in ("create", "estimate", "list", "show", "watch", "events")),
        *(["jobs", name] for name in ("logs", "metrics", "cancel", "retry", "delete")),
        *(["students", name] for name in ("list", "show", "download")),
        *(["predictions", name] for name in ("create", "show", "labels")),
        *(["keys", name] for name in ("create", "list", "rotate", "revoke")),
        *([name] for name in ("run", "labels", "export", "workers")),
    ]

    for words in commands:
        told = runner.invoke(app, [*words, "--help"]).stdout
        assert "Exit codes: 0 done" in told, words
        assert "--json" in told or words == ["run"], words


def test_completion_can_be_installed():
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).stdout
