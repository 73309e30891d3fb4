"""Workers that share nothing but Redis and the data folder finish one job together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import redis

from app.standalone import bind
from demo.world import CLASSES, write_world
from tests.serving import ROOT, survivors, wait_until
from tests.valkeys import valkey
from workers.files import DataFolder
from workers.stages import Stage

PASSWORD = "between-two-hosts"
#: Many small units: whoever is slow to hear of a phase still finds some.
IMAGES, SHARD = 64, 4
UNITS = IMAGES // SHARD
#: Little to train, and no batch of the teacher that is over in a blink.
CONFIG = {
    "warm_up_epochs": 1,
    "train_epochs": 1,
    "student_size": 64,
    "cam_size": 80,
    "teacher_batch": 1,
}
LONGEST_WAIT = 400
#: Waits in its new namespaces until the link is there.
WAITING = 'hostname "$0" && read -r _ && exec "$@"'


def is_allowed(*command):
    """Whether the command does what it should; a test without the right to is skipped."""
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def call(*command):
    subprocess.run(command, check=True, capture_output=True)


class Host:
    """A worker in network and host-name namespaces of its own, with one link to the outside."""

    def __init__(self, number, folder):
        self.name = f"ccd-host-{number}"
        #: Of the outer and of the inner end of the link, in a range that is kept for tests.
        self.gateway, self.address = f"198.18.{number}.1", f"198.18.{number}.2"
        self._outer = f"ccd{os.getpid() % 100_000}x{number}"
        self._log = folder / f"{self.name}.txt"

    def begin(self, environment):
        """Make the namespaces and the link; the worker begins with `go`."""
        worker = [sys.executable, "-m", "app.cli", "worker", "--lane", "method"]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                ["unshare", "--net", "--uts", "sh", "-c", WAITING, self.name, *worker],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
            )
        wait_until(lambda: self.network != network_of("self"))
        pid = str(self.process.pid)
        inside = ["nsenter", "--net", "--target", pid]
        call("ip", "link", "add", self._outer, "type", "veth", "peer", "name", "eth0", "netns", pid)
        call("ip", "address", "add", f"{self.gateway}/30", "dev", self._outer)
        call("ip", "link", "set", self._outer, "up")
        call(*inside, "ip", "address", "add", f"{self.address}/30", "dev", "eth0")
        call(*inside, "ip", "link", "set", "eth0", "up")

    def go(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.close()

    @property
    def network(self):
        return network_of(self.process.pid)

    def completed(self, job_id, phase):
        """The units of a phase that it did."""
        lines = map(json.loads, self._log.read_text().splitlines())
        return [
            line["unit"]
            for line in lines
            if line["event"] == "unit.ended"
            and (line["record"], line["phase"]) == (job_id, phase)
            and line["outcome"] == "completed"
        ]

    def end(self):
        """Kill it; its namespaces go with it, and the link with them."""
        if self.process.poll() is None:
            kill(self.process)


def kill(process):
    """End a process and all that it started."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert not survivors(family)


def network_of(pid):
    return Path(f"/proc/{pid}/ns/net").readlink()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_world(folder, count=IMAGES, seed=7)
    (folder / "truth.json").unlink()
    return folder


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    if not is_allowed("unshare", "--net", "--uts", "ip", "link", "add", "ccd0", "type", "veth"):
        pytest.skip("network namespaces and virtual links need root and iproute2")
    return [Host(number, tmp_path_factory.mktemp("host")) for number in (1, 2)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory, scenes):
    """What all processes of the service are told but for the address of Redis."""
    return {
        "CCD_DATA": str(tmp_path_factory.mktemp("shared") / "data"),
        "CCD_ALLOWED_ROOTS": str(scenes),
        "CCD_LOG_FORMAT": "json",
        "CCD_SHARD_IMAGES": str(SHARD),
        "CCD_HEARTBEAT_SECONDS": "0.1",
        "CCD_THREADS": "1",
    }


@pytest.fixture(scope="module")
def redis_at():
    """Address of Redis as a host knows it: its gateway, and a port that was free a moment ago."""
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    return lambda host: f"redis://:{PASSWORD}@{host.gateway}:{port}/0"


@pytest.fixture(scope="module")
def two_hosts(hosts, environment, redis_at):
    """Both hosts with a worker each, and their only server: a Valkey with a password."""
    started = []
    try:
        for host in hosts:
            host.begin(environment | {"CCD_REDIS_URL": redis_at(host)})
            started.append(host)
        addresses = [urlsplit(redis_at(host)) for host in hosts]
        port, names = str(addresses[0].port), [address.hostname for address in addresses]
        with valkey("--port", port, "--bind", *names) as url:
            with redis.Redis.from_url(url) as client:
                client.config_set("requirepass", PASSWORD)
            for host in hosts:
                host.go()
            yield hosts
    finally:
        for host in started:
            host.end()


@pytest.fixture(scope="module")
def client(two_hosts, environment, redis_at, tmp_path_factory):
    """The API and a worker for files, where Redis is."""
    here = environment | {"CCD_REDIS_URL": redis_at(two_hosts[0])}
    log = tmp_path_factory.mktemp("here") / "log.txt"
    with bind("127.0.0.1", 0) as listener, log.open("wb") as output:
        parts = [["api", "--fd", str(listener.fileno())], ["worker", "--lane", "io"]]
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "app.cli", *part],
                cwd=ROOT,
                env=os.environ | here,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(listener.fileno(),),
            )
            for part in parts
        ]
        port = listener.getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
        for process in processes:
            kill(process)


def finish(client, body):
    """The id of a job that has succeeded."""
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    job_id = answer.json()["id"]

    def is_over():
        job = client.get(f"/v1/jobs/{job_id}").json()
        return job["terminal"] and job

    job = wait_until(is_over, LONGEST_WAIT)
    assert job["status"] == "succeeded", job["error"]
    return job_id


def labels_of(client, job_id):
    def rows(stage):
        answer = client.get(
            f"/v1/jobs/{job_id}/labels",
            params={"stage": stage, "views": stage is Stage.LOCAL},
            headers={"Accept": "application/x-ndjson"},
        )
        assert answer.is_success, answer.text
        return answer.content

    return {stage: rows(stage) for stage in Stage}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hosts_share_the_shards_of_a_job_and_one_alone_finds_the_same_labels(
    two_hosts, client, environment, scenes
):
    def is_listed():
        listed = client.get("/v1/workers").json()["data"]
        return {one["host"] for one in listed} >= {host.name for host in two_hosts}

    wait_until(is_listed, LONGEST_WAIT)
    assert len({host.network for host in two_hosts} | {network_of("self")}) == 3
    body = {
        "source": {"kind": "folder", "path": str(scenes)},
        "classes": list(CLASSES[:6]),
        "preset": "tiny",
        "config": CONFIG,
    }

    job_id = finish(client, body)

    for phase in ("embed", "localize"):
        first, second = (host.completed(job_id, phase) for host in two_hosts)
        assert first
        assert second
        assert sorted(first + second) == list(range(UNITS))

    together = labels_of(client, job_id)
    two_hosts[1].process.terminate()
    assert two_hosts[1].process.wait(60) == 0
    folder = DataFolder(Path(environment["CCD_DATA"]))
    for path in folder.phases.iterdir():
        folder.discard(path)

    alone = labels_of(client, finish(client, body))

    assert [stage for stage in Stage if together[stage] != alone[stage]] == []
