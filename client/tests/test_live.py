"""The whole journey on a live service: the one at CCD_URL, else one that is started here."""

import asyncio
import hashlib
import json
import struct
import uuid
import zlib

import pytest

from ccd_client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unauthorized,
)
from scripted import QUICK, BreakingLine

WANTED = ["dog", "cat", "bus"]
SHORT = {"warm_up_epochs": 1, "train_epochs": 1}


def png(number, side=48):
    """A picture of two colours that no other number has."""
    colours = [bytes([37 * number % 256, 91 * number % 256, 150]), bytes([200, 11 * number, 60])]
    rows = (b"\0" + colours[row * 2 // side] * side for row in range(side))

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(12):
        (folder / f"{number:02}.png").write_bytes(png(number))
    (folder / "note.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def client(service):
    with Client(**service) as client:
        yield client


@pytest.fixture(scope="module")
def dataset(client, photos):
    sent = []
    dataset = client.datasets.upload(
        photos, name="photos", max_bad_fraction=0.5, on_progress=lambda *now: sent.append(now)
    )
    assert sent[-1][0] == sent[-1][1] > 0
    return dataset.wait(timeout=60).check()


@pytest.fixture(scope="module")
def followed(client, dataset):
    """A finished job, and the events that told of it."""
    events = []
    job = client.jobs.create(dataset=dataset, classes=WANTED, preset="tiny", config=SHORT)
    return job.wait(timeout=200, on_event=events.append).check(), events


@pytest.fixture(scope="module")
def job(followed):
    return followed[0]


def test_an_uploaded_folder_is_a_dataset_and_tells_what_was_unusable(dataset):
    assert dataset.counts.accepted == 12
    assert [image.path for image in dataset.images()] == [f"{n:02}.png" for n in range(12)]
    assert [file.path for file in dataset.skipped()] == ["note.txt"]


def test_the_events_begin_with_the_job_and_end_with_it(followed):
    job, events = followed
    kinds = [event.type for event in events]

    assert kinds[0] == "job.snapshot"
    assert kinds.index("job.done") == len(kinds) - 1
    numbers = [event.seq for event in events if event.seq is not None]
    assert numbers == sorted(set(numbers))
    assert (job.status, job.progress.percent) == ("succeeded", 100)


def test_labels_come_as_rows_and_as_files(job, tmp_path):
    rows = job.labels().all()

    assert len(rows) == 12
    assert all(set(row.scores) == set(WANTED) for row in rows)
    lines = job.labels().save(tmp_path / "labels.ndjson").read_text().splitlines()
    assert [json.loads(line)["scores"] for line in lines] == [row.scores for row in rows]
    assert job.labels().save(tmp_path / "labels.csv").read_text().count("\n") == 13


def test_earlier_stages_have_their_views(job):
    assert any(row.views for row in job.labels("local", views=True))


def test_the_student_comes_whole(job, tmp_path):
    student = job.student()

    path = student.download(tmp_path / "student.safetensors")

    assert hashlib.sha256(path.read_bytes()).hexdigest() == student.weights.sha256
    assert set(student.thresholds) == set(WANTED)


def test_other_thresholds_are_a_new_version(job):
    student = job.student()
    wanted = dict.fromkeys(WANTED, 0.0)

    changed = student.set_thresholds(wanted, if_version=student.thresholds_version)

    assert changed.thresholds == wanted
    assert {row.thresholds_version for row in job.labels()} == {changed.version}
    assert [version.version for version in student.thresholds_versions()][-1] == 1


def test_a_student_says_what_it_sees_on_new_files(job, photos):
    prediction = job.student().predict([photos / "00.png", photos / "01.png"])

    rows = prediction.wait(timeout=60).check().labels().all()

    assert [row.path for row in rows] == ["00.png", "01.png"]


def test_what_cannot_be_is_told_in_the_words_of_the_service(client, dataset, job):
    with pytest.raises(InvalidRequest, match=r"alpha.*1\.4"):
        client.jobs.create(dataset=dataset, classes=WANTED, config={"alpha": 1.4})
    with pytest.raises(NotFound, match="job_nothing") as caught:
        client.jobs.get("job_nothing")
    assert "no job with this id" in client.explain(caught.value)
    with pytest.raises(Conflict, match="succeeded already"):
        job.cancel()


@pytest.fixture
def broken(service, request):
    """A client whose connections break all the time."""
    line = BreakingLine(service["url"], most=request.param, seed=11)
    with Client(line.url, service["key"], patience=QUICK) as client:
        yield client, line
    line.close()


@pytest.mark.parametrize("broken", [9_000], indirect=True)
def test_a_watcher_whose_connection_breaks_at_random_hears_every_event_once(broken, job):
    client, line = broken
    whole = [(event.seq, event.type) for event in job.events(after=0)]

    heard = [(event.seq, event.type) for event in client.jobs.get(job.id).events(after=0)]

    assert heard == whole
    assert len({seq for seq, _ in whole}) == len(whole) > 10
    assert line.cuts > 0


@pytest.mark.parametrize("broken", [400_000], indirect=True)
def test_a_download_that_is_cut_at_random_goes_on(broken, job, tmp_path):
    client, line = broken
    student = client.jobs.get(job.id).student()

    path = student.download(tmp_path / "student.safetensors")

    assert hashlib.sha256(path.read_bytes()).hexdigest() == student.weights.sha256
    assert line.cuts > 2


@pytest.fixture
def name():
    """That nothing has yet, on a service of the user's either."""
    return f"lost answer {uuid.uuid4().hex}"


@pytest.fixture
def forgetful(service):
    """A client that does not hear the first three answers to the end."""
    line = BreakingLine(service["url"], most=60, seed=5, cuts=3)
    with Client(line.url, service["key"], patience=QUICK) as client:
        yield client
    assert line.cuts == 3
    line.close()


def test_a_job_whose_answer_was_lost_is_made_once(forgetful, client, dataset, name):
    job = forgetful.jobs.create(dataset=dataset, classes=WANTED, preset="tiny", name=name)

    same = [one.id for one in client.jobs.list() if one.name == name]

    client.jobs.get(job.id).cancel()
    assert same == [job.id]


def test_an_upload_whose_answer_was_lost_is_one_dataset(forgetful, client, photos, name):
    dataset = forgetful.datasets.upload([photos / "00.png"], name=name)

    assert [one.id for one in client.datasets.list() if one.name == name] == [dataset.id]


def test_its_own_key_and_what_is_used_are_told(client, service):
    if service["key"] is None:
        pytest.skip("the service asks for no keys")
    own = client.keys.current()

    assert service["key"].startswith(f"{own.id}.")
    assert client.usage()["project"] == own.project


def test_keys_are_made_rotated_and_revoked_and_the_log_tells_of_it(client, service):
    if service["key"] is None or "admin" not in client.keys.current().scopes:
        pytest.skip("the key at hand has not the scope admin")
    made = client.keys.create("for a test", scopes=["read"], expires_in_days=1)
    renewed = client.keys.rotate(made.id)
    with Client(service["url"], renewed.secret) as reader:
        assert reader.jobs.list().take(1) is not None
        with pytest.raises(Forbidden, match="scope admin"):
            reader.audit().take(1)
        client.keys.revoke(made.id)
        with pytest.raises(Unauthorized):
            reader.jobs.list().take(1)

    assert client.keys.get(made.id).revoked_at is not None
    assert made.id in [key.id for key in client.keys.list()]
    done = [entry for entry in client.audit().take(50) if entry.record_id == made.id]
    assert {"create_key", "rotate_key", "revoke_key"} <= {entry.operation for entry in done}


def test_the_workers_that_did_it_are_listed(client, job):
    assert job.is_good
    assert {"io", "method"} <= {worker.lane for worker in client.workers()}


def test_the_asynchronous_client_sends_and_reads_the_same(service, job, photos, tmp_path):
    async def read():
        async with AsyncClient(**service) as client:
            sent = await client.datasets.upload([photos / "01.png"])
            assert (await sent.wait(timeout=60)).counts.accepted == 1
            same = await client.jobs.get(job.id)
            await same.wait(timeout=20, on_event=lambda _: None)
            await same.download("student.onnx", tmp_path / "student.onnx")
            return [row async for row in same.labels()]

    assert asyncio.run(read()) == job.labels().all()
    assert (tmp_path / "student.onnx").stat().st_size > 1000
