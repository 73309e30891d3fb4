"""A file on its way: whole or not at all, and from where it broke off."""

import base64
import hashlib
import random

import pytest

from ccd_client import DownloadDamaged, NotFound
from scripted import JOB, Answer, says

BYTES = random.Random(5).randbytes(100_000)
DIGEST = hashlib.sha256(BYTES).hexdigest()
TAG = {"ETag": f'"{DIGEST}"'}
WHOLE = Answer(200, BYTES, TAG)


def rest(start):
    return Answer(206, BYTES[start:], {**TAG, "Content-Range": f"bytes {start}-99999/100000"})


@pytest.fixture
def job(scripted, client):
    scripted.will(says(JOB))
    job = client.jobs.get("job_1")
    scripted.requests.clear()
    return job


def left_over(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".part")


def test_a_cut_download_goes_on_where_it_broke_off(scripted, job, tmp_path):
    scripted.will(Answer(200, BYTES, TAG, cut=30_000), rest(30_000))

    job.download("a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == BYTES
    asked = scripted.requests[1].headers
    assert (asked["range"], asked["if-range"]) == ("bytes=30000-", f'"{DIGEST}"')
    assert left_over(tmp_path) == []


def test_a_later_call_goes_on_where_an_earlier_one_was_stopped(scripted, job, tmp_path):
    (tmp_path / f".a.bin.{DIGEST[:16]}.part").write_bytes(BYTES[:40_000])
    scripted.will(Answer(200, BYTES, TAG, cut=0), rest(40_000))

    job.download("a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == BYTES


def test_a_file_that_changed_meanwhile_is_begun_anew(scripted, job, tmp_path):
    scripted.will(Answer(200, b"old" * 100, {"ETag": '"old"'}, cut=10), WHOLE)

    job.download("a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == BYTES


def test_a_file_that_changed_to_another_with_a_digest_is_begun_anew(scripted, job, tmp_path):
    old = {"ETag": f'"{hashlib.sha256(b"old").hexdigest()}"'}
    scripted.will(Answer(200, b"old" * 100, old, cut=10), WHOLE)

    job.download("a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == BYTES


def test_a_server_without_ranges_sends_it_all_again(scripted, job, tmp_path):
    scripted.will(Answer(200, BYTES, TAG, cut=30_000), WHOLE)

    job.download("a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == BYTES
    assert len(scripted.requests) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{DIGEST}"'},
        {"Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(DIGEST)).decode()}:"},
    ],
)
def test_damaged_bytes_leave_nothing(scripted, job, tmp_path, headers):
    scripted.will(Answer(200, BYTES[:-1] + b"x", headers))

    with pytest.raises(DownloadDamaged, match=DIGEST):
        job.download("a.bin", tmp_path / "a.bin")

    assert list(tmp_path.iterdir()) == []


def test_a_refused_download_leaves_what_was_there(scripted, job, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"before")
    scripted.will(says({"code": "artifact_not_found", "detail": "no such file"}, 404))

    with pytest.raises(NotFound):
        job.download("a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == b"before"
    assert left_over(tmp_path) == []


def test_an_empty_file_is_a_file(scripted, job, tmp_path):
    scripted.will(Answer(200, b""))

    job.download("a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == b""


def test_progress_counts_bytes_that_were_here_before(scripted, job, tmp_path):
    scripted.will(Answer(200, BYTES, TAG, cut=30_000), rest(30_000))
    told = []

    job.download("a.bin", tmp_path / "a.bin", on_progress=lambda *now: told.append(now))

    assert told[-1] == (100_000, 100_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_rows_that_break_off_are_asked_for_from_the_beginning(scripted, job, tmp_path):
    scripted.will(Answer(200, b"a,b\r\n1,2\r\n", cut=5), Answer(200, b"a,b\r\n1,2\r\n"))

    job.labels().save(tmp_path / "labels.csv")

    assert (tmp_path / "labels.csv").read_bytes() == b"a,b\r\n1,2\r\n"
    assert scripted.requests[1].headers["accept"] == "text/csv"
    assert "range" not in scripted.requests[1].headers


def test_rows_are_saved_as_their_name_ends(job, tmp_path):
    with pytest.raises(ValueError, match=r"\.csv or \.ndjson"):
        job.labels().save(tmp_path / "labels.xlsx")
