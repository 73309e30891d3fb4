"""The API is killed in the middle of a request, restarted under load, or there twice."""

import io
import os
import socket
import subprocess
import sys
import threading

import httpx
import pytest
from PIL import Image

from tests.serving import ROOT, RunningServer, wait_until
from tests.store_calls import worker_of
from workers.deletion import finish_deletions
from workers.files import DataFolder
from workers.jobs import Kind, Lane, Status
from workers.recovery import recover
from workers.settings import Settings


class ApiProcess:
    """`ccd api` on a listener that outlives it, as under `ccd serve`."""

    def __init__(self, settings, log):
        self.settings, self.log = settings, log
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.process = None

    def start(self, faults=""):
        fd = self.listener.fileno()
        environment = {
            "CCD_DATA": str(self.settings.data),
            "CCD_REDIS_URL": self.settings.redis_url,
            "CCD_ALLOWED_ROOTS": str(self.settings.allowed_roots[0]),
            "CCD_FAULTS": faults,
        }
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "api", "--fd", str(fd)],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=output,
                stderr=output,
                pass_fds=(fd,),
            )
        # A request waits in the listener's backlog until somebody takes it.
        assert httpx.get(f"{self.url}/livez", timeout=60).status_code == 200

    def drain(self):
        self.process.terminate()
        self.process.wait(60)

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.listener.close()


@pytest.fixture
def settings(redis_url, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.png").write_bytes(picture())
    return Settings(
        data=tmp_path / "data",
        redis_url=redis_url,
        allowed_roots=[photos],
        threads=1,
        reap_seconds=600,
    )


@pytest.fixture
def folder(settings):
    folder = DataFolder(settings.data)
    folder.create()
    return folder


@pytest.fixture
def api(settings, folder, tmp_path):
    process = ApiProcess(settings, tmp_path / "api.txt")
    yield process
    process.end()


KEY = {"Idempotency-Key": "once"}


def picture():
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "png")
    return content.getvalue()


def by_upload(url, _settings, headers=None):
    files = {"files": ("a.png", picture())}
    return httpx.post(f"{url}/v1/datasets", files=files, headers=headers, timeout=60)


def by_folder(url, settings, headers=None):
    body = {"source": {"kind": "folder", "path": str(settings.allowed_roots[0])}}
    return httpx.post(f"{url}/v1/datasets", json=body, headers=headers, timeout=60)


#: Where it dies, and how many datasets are on disk then: none, or one with all that it needs.
MOMENTS = [
    (by_upload, "upload.chunk", 0),
    (by_upload, "json.before_replace@request", 0),
    (by_folder, "json.before_replace@request", 0),
    (by_upload, "submit.written", 1),
    (by_folder, "submit.written", 1),
]


@pytest.mark.parametrize(
    "death",
    [pytest.param(each, marks=() if each == MOMENTS[1] else pytest.mark.long) for each in MOMENTS],
)
def test_a_kill_leaves_a_whole_dataset_or_none(api, store, settings, death):
    send, moment, kept = death
    folder = DataFolder(settings.data)
    api.start(f"{moment}=kill")
    with pytest.raises(httpx.TransportError):
        send(api.url, settings)
    api.process.wait()

    assert store.count(Kind.DATASET) == 0
    assert len(list(folder.datasets.iterdir())) == kept
    api.start()
    again = send(api.url, settings).json()["id"]
    folder.sweep(set(), quiet_seconds=0)
    assert list(folder.staging_root.iterdir()) == []

    found = recover(store, folder, apply=True)
    assert found.lost == {}
    assert sum(found.restored.values()) == kept
    worker_of(store, settings).run_until_empty()
    datasets = store.list(Kind.DATASET)[0]
    assert again in [dataset.id for dataset in datasets]
    assert [dataset.status for dataset in datasets] == [Status.SUCCEEDED] * (kept + 1)


#: Where it dies with a request that has a key: before the record, and before its answer.
KEYED = ["create.accepted", pytest.param("submit.written", marks=pytest.mark.long)]


@pytest.mark.parametrize("moment", KEYED)
@pytest.mark.parametrize("send", [by_upload, pytest.param(by_folder, marks=pytest.mark.long)])
def test_a_request_with_a_key_that_is_sent_again_after_a_kill_makes_one_dataset(
    api, store, settings, send, moment
):
    folder = DataFolder(settings.data)
    api.start(f"{moment}=kill")
    with pytest.raises(httpx.TransportError):
        send(api.url, settings, KEY)
    api.process.wait()

    api.start()
    assert send(api.url, settings, KEY).json()["code"] == "idempotency_in_flight"
    store.redis.hset(f"ccd:once:default:{KEY['Idempotency-Key']}", "until_ms", 0)
    again = send(api.url, settings, KEY).json()["id"]
    assert send(api.url, settings, KEY).json()["id"] == again
    worker_of(store, settings).run_until_empty()

    assert [path.name for path in folder.datasets.iterdir()] == [again]
    assert [(each.id, each.status) for each in store.list(Kind.DATASET)[0]] == [
        (again, Status.SUCCEEDED)
    ]


@pytest.mark.parametrize(
    "moment", ["delete.marked", pytest.param("delete.forgotten", marks=pytest.mark.long)]
)
def test_a_deletion_that_a_kill_breaks_off_is_finished_and_stays_so(
    api, store, settings, moment, monkeypatch
):
    folder = DataFolder(settings.data)
    api.start(f"{moment}=kill")
    dataset = by_folder(api.url, settings).json()["id"]
    worker_of(store, settings).run_until_empty()
    with pytest.raises(httpx.TransportError):
        httpx.delete(f"{api.url}/v1/datasets/{dataset}", timeout=60)
    api.process.wait()
    assert folder.of(Kind.DATASET, dataset).is_dir()

    monkeypatch.setattr("workers.deletion.QUIET_SECONDS", 0)
    finish_deletions(store, folder)
    assert store.count(Kind.DATASET) == 0
    assert not folder.of(Kind.DATASET, dataset).exists()
    assert recover(store, folder, apply=True).restored == {}
    assert (settings.allowed_roots[0] / "one.png").read_bytes() == picture()


@pytest.mark.parametrize("restarts", [1, pytest.param(6, marks=pytest.mark.long)])
def test_reads_over_a_restart_are_answered_rightly_or_not_at_all(api, settings, restarts):
    api.start()
    dataset = by_folder(api.url, settings).json()["id"]
    over = threading.Event()
    wrong, broken, right = [], [], []

    def read():
        while not over.is_set():
            try:
                reply = httpx.get(f"{api.url}/v1/datasets/{dataset}", timeout=60)
            except httpx.TransportError as error:
                broken.append(error)
                continue
            is_right = reply.status_code == 200 and reply.json()["id"] == dataset
            (right if is_right else wrong).append(reply)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(restarts):
        before = len(right)
        wait_until(lambda before=before: len(right) > before + 20)
        api.drain()
        api.start()
    over.set()
    for reader in readers:
        reader.join()

    assert wrong == []
    assert len(right) > 20 * restarts
    assert len(broken) <= len(readers) * restarts


def test_two_apis_that_are_asked_at_once_make_two_whole_datasets_of_the_same(
    settings, folder, store
):
    """An id is that of a request; who wants one dataset for one folder sends one request."""
    with RunningServer(settings) as one, RunningServer(settings) as other:
        replies = []
        threads = [
            threading.Thread(target=lambda url=url: replies.append(by_folder(url, settings)))
            for url in (one.url, other.url)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ids = {reply.json()["id"] for reply in replies}
    worker_of(store, settings, Lane.IO).run_until_empty()

    assert len(ids) == 2
    assert {store.get(id).status for id in ids} == {Status.SUCCEEDED}
    assert len({(folder.dataset(id) / "manifest.parquet").read_bytes() for id in ids}) == 1
