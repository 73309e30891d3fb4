"""Doorbells that are lost, come again or never end: work is rung for all the same."""

import os
import subprocess
import sys

import httpx
import psutil
import pytest
import redis
from PIL import Image

from tests.black_hole import BlackHole
from tests.serving import ROOT, RunningServer, survivors, wait_until
from tests.valkeys import mortal_valkey
from workers.jobs import Status
from workers.settings import Settings
from workers.store import open_store

BELLS = "ccd:bell:"
LONGEST_WAIT = 120


@pytest.fixture
def service(tmp_path):
    """An API, and a real worker of lane io behind a line that can be cut."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "one.png")
    with mortal_valkey() as server, BlackHole(str(server.socket)) as line:
        settings = Settings(
            data=tmp_path / "data",
            redis_url=server.url,
            allowed_roots=[tmp_path / "photos"],
            reap_seconds=0.3,
        )
        with RunningServer(settings) as api:
            service = Service(settings, api.url, line)
            yield service
            service.end()


class Service:
    def __init__(self, settings, url, line):
        self.settings, self.url, self.line = settings, url, line
        self.store = open_store(settings)
        self.worker = None

    def start_worker(self, faults=""):
        environment = {
            "CCD_REDIS_URL": self.line.url,
            "CCD_DATA": str(self.settings.data),
            "CCD_ALLOWED_ROOTS": str(self.settings.allowed_roots[0]),
            "CCD_THREADS": "1",
            "CCD_FAULTS": faults,
        }
        log = self.settings.data / "worker.txt"
        with log.open("wb") as output:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "worker", "--lane", "io"],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=output,
                stderr=output,
            )

    def register(self):
        source = {"kind": "folder", "path": str(self.settings.allowed_roots[0])}
        reply = httpx.post(f"{self.url}/v1/datasets", json={"source": source}, timeout=20)
        assert reply.status_code == 202, reply.text
        return reply.json()["id"]

    def wait_for(self, id):
        wait_until(lambda: self.store.get(id).status is Status.SUCCEEDED, LONGEST_WAIT)

    def lose_bells(self):
        """Everything of Celery's that lies in Redis; whether there was anything."""
        with redis.Redis.from_url(self.settings.redis_url) as client:
            keys = client.keys(f"{BELLS}*")
            return bool(keys and client.delete(*keys))

    def unacknowledged_bells(self):
        """Those that were heard and could come back."""
        return self.store.redis.hlen(f"{BELLS}unacked")

    def child(self):
        children = psutil.Process(self.worker.pid).children()
        return next(child for child in children if "spawn_main" in " ".join(child.cmdline()))

    def end(self):
        if self.worker is not None:
            family = psutil.Process(self.worker.pid).children(recursive=True)
            self.worker.kill()
            self.worker.wait()
            survivors(family)
        self.store.redis.close()


def test_work_whose_bells_are_lost_is_rung_for_again(service):
    """Before a worker comes, while it works, and while it waits."""
    waiting = service.register()
    assert service.lose_bells()
    service.start_worker("unit.started@register:2=stop")
    service.wait_for(waiting)

    # No bell is out while a unit is in hand: no visibility timeout can bring one back.
    second = service.register()
    wait_until(lambda: service.child().status() == psutil.STATUS_STOPPED, LONGEST_WAIT)
    assert service.unacknowledged_bells() == 0
    third = service.register()
    assert service.lose_bells()
    service.child().resume()
    service.wait_for(second)
    service.wait_for(third)

    service.lose_bells()  # a worker that waits may have left none
    service.wait_for(service.register())


@pytest.mark.long
@pytest.mark.parametrize("forget", [False, True])
def test_a_worker_hears_bells_again_after_a_minute_of_silence(service, forget):
    """Old connections come back to life, or stay silent for ever and have to be given up."""
    service.start_worker()
    service.wait_for(service.register())
    service.line.fall_silent()
    id = service.register()
    with pytest.raises(AssertionError, match="in vain"):  # the outage itself
        wait_until(lambda: service.store.get(id).status is Status.SUCCEEDED, 60)
    service.line.heal(forget=forget)

    service.wait_for(id)
