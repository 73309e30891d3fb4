"""A Redis that cannot write its disk takes no writes: the service says so, and goes on after."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from PIL import Image

from tests.serving import ROOT, RunningServer, survivors, wait_until
from tests.valkeys import valkey
from workers.settings import Settings

SNAPSHOT = "dump.rdb"


class Journal:
    """The disk of a Redis, which refuses its snapshots where a folder has their name."""

    def __init__(self, url):
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.place = Path(self.redis.config_get("dir")["dir"]) / SNAPSHOT

    def break_(self):
        self.place.unlink(missing_ok=True)
        self.place.mkdir()
        self._snapshot("err")

    def mend(self):
        self.place.rmdir()
        self._snapshot("ok")

    def _snapshot(self, ends):
        self.redis.bgsave()
        wait_until(lambda: self.redis.info("persistence")["rdb_last_bgsave_status"] == ends)


@pytest.fixture
def journal():
    # Snapshots are demanded, but only this test asks for one.
    with valkey("--save", "86400 1000000000", "--dbfilename", SNAPSHOT) as url:
        journal = Journal(url)
        yield journal
        journal.redis.config_set("save", "")  # it does not end before it has written one


@pytest.fixture
def settings(tmp_path, journal):
    path = journal.redis.connection_pool.connection_kwargs["path"]
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "one.png")
    return Settings(
        data=tmp_path / "data", redis_url=f"unix://{path}", allowed_roots=[tmp_path], device="cpu"
    )


@pytest.fixture
def worker(settings, tmp_path):
    environment = {
        "CCD_REDIS_URL": settings.redis_url,
        "CCD_DATA": str(settings.data),
        "CCD_ALLOWED_ROOTS": str(tmp_path),
        "CCD_HEARTBEAT_SECONDS": "0.2",
        "CCD_REAP_SECONDS": "0.3",
        "CCD_THREADS": "1",
    }
    with (tmp_path / "worker.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker", "--lane", "io"],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield process
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    survivors(family)


def test_writes_are_refused_with_a_hint_and_reads_answered(settings, journal):
    source = {"source": {"kind": "folder", "path": str(settings.allowed_roots[0] / "photos")}}
    with (
        RunningServer(settings) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        first = client.post("/v1/datasets", json=source).json()["id"]
        journal.break_()

        refused = client.post("/v1/datasets", json=source)
        assert (refused.status_code, refused.json()["code"]) == (503, "redis_unavailable")
        assert "cannot write its own disk" in refused.json()["detail"]
        assert refused.headers["retry-after"] == "5"
        assert client.get(f"/v1/datasets/{first}").status_code == 200
        assert client.get("/readyz").json()["code"] == "redis_unavailable"

        journal.mend()
        assert client.post("/v1/datasets", json=source).status_code == 202
        assert client.get("/readyz").status_code == 200


@pytest.mark.long
def test_a_worker_lives_through_it_and_works_after(settings, journal, worker):
    source = {"source": {"kind": "folder", "path": str(settings.allowed_roots[0] / "photos")}}
    with (
        RunningServer(settings) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):

        def listed():
            return client.get("/v1/workers").json()["data"]

        [before] = wait_until(listed, seconds=120)
        family = psutil.Process(worker.pid).children(recursive=True)
        waiting = client.post("/v1/datasets", json=source).json()["id"]
        journal.break_()
        wait_until(lambda: "MISCONF" in (settings.data.parent / "worker.txt").read_text())

        journal.mend()
        sent = client.post("/v1/datasets", json=source).json()["id"]
        wait_until(
            lambda: all(
                client.get(f"/v1/datasets/{id}").json()["status"] == "ready"
                for id in (waiting, sent)
            )
        )
        [after] = listed()
        assert (after["name"], after["started_at"]) == (before["name"], before["started_at"])
        assert psutil.Process(worker.pid).children(recursive=True) == family
