"""`ccd serve`: everything on one machine comes up, heals, goes down in order, leaves nothing."""

import json
import os
import signal
import socket
import sys
import time
from unittest.mock import Mock

import pytest
from PIL import Image
from typer.testing import CliRunner

from app.cli import app
from app.standalone import SERVICE_FILE, Service, redis_url_of
from tests.serving import Serve, survivors, wait_until
from workers.settings import Settings

PARTS = ("valkey", "api", "worker-io", "worker-method")
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux ends children with their parent"
)


@pytest.fixture
def serve(tmp_path):
    started = []

    def serve(*options, data=tmp_path / "data", env=None):
        started.append(Serve(data, "--port", "0", *options, env=env))
        return started[-1]

    yield serve
    for one in started:
        one.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A service for what ends it not."""
    service = Serve(tmp_path_factory.mktemp("shared") / "data", "--port", "0")
    yield service.wait_until_ready()
    service.end()


@pytest.fixture
def refused(monkeypatch, tmp_path):
    """The answer to `ccd serve` with options that it cannot be started with."""
    monkeypatch.setattr(Service, "run", Mock(side_effect=AssertionError("it was started")))
    for name in ("CCD_DATA", "CCD_HOST", "CCD_AUTH"):  # options become these
        monkeypatch.setenv(name, "put back afterwards")
        monkeypatch.delenv(name)
    command = ["serve", "--port", "0", "--data", str(tmp_path / "data")]
    return lambda *options: CliRunner().invoke(app, [*command, *options])


def test_it_says_where_it_listens_once_it_can_work(shared):
    service = shared

    assert service.status("/readyz") == 200
    assert json.loads((service.data / SERVICE_FILE).read_text()) == {
        "url": service.url(),
        "pid": service.process.pid,
    }


def test_sigterm_ends_api_workers_and_valkey_in_this_order(serve, tmp_path_factory):
    private = tmp_path_factory.mktemp("x")  # what the service makes for its socket
    service = serve(env={"XDG_RUNTIME_DIR": str(private)}).wait_until_ready()
    family = service.family
    assert list(private.iterdir())
    started = time.monotonic()

    service.process.terminate()

    assert service.process.wait(45) == 0
    assert time.monotonic() - started < 45
    stopped = [line.removesuffix(" stopped") for line in service.lines if line.endswith(" stopped")]
    assert stopped == ["api", "worker-io", "worker-method", "valkey"]
    assert survivors(family) == []
    assert not (service.data / SERVICE_FILE).exists()
    assert list(private.iterdir()) == []


def test_who_looks_for_a_service_makes_no_folder_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    assert redis_url_of(Settings(data=tmp_path / "data", redis_url=None)) is None

    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_ends_it_at_once(serve):
    service = serve().wait_until_ready()
    family = service.family
    os.kill(service.pid("worker-method"), signal.SIGSTOP)  # it will not stop by itself

    service.process.send_signal(signal.SIGINT)
    wait_until(lambda: any(line.startswith("stopping") for line in service.lines))
    service.process.send_signal(signal.SIGINT)

    assert service.process.wait(10) == 130
    assert survivors(family) == []


@linux_only
def test_a_killed_supervisor_leaves_nothing_running_and_the_next_one_starts(serve):
    service = serve().wait_until_ready()
    family = wait_until(lambda: len(service.family) >= 8 and service.family)

    service.process.kill()
    service.process.wait()

    assert survivors(family) == []
    assert serve().wait_until_ready().status() == 200


@linux_only
def test_a_killed_supervisor_leaves_nothing_of_a_worker_at_work(serve, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(200):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(images / f"{number}.png")
    service = serve("--allow", str(images)).wait_until_ready()
    idle = {
        process.pid for process in wait_until(lambda: len(service.family) >= 8 and service.family)
    }

    service.post("/v1/datasets", {"source": {"kind": "folder", "path": str(images)}})
    wait_until(lambda: {process.pid for process in service.family} - idle)  # it decodes
    family = service.family
    service.process.kill()
    service.process.wait()

    assert survivors(family) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_is_started_again(shared, part):
    service = shared
    before = service.pid(part)

    os.kill(before, signal.SIGKILL)

    wait_until(lambda: service.pid(part) != before)
    wait_until(lambda: service.status() == 200)
    assert f"{part} was ended by SIGKILL; starts again in 0.5 s" in service.said.read_text()


def test_a_data_folder_serves_one_service_at_a_time(serve, shared):
    first = shared

    second = serve(data=shared.data)

    assert second.process.wait(30) == 1
    assert f"in use by process {first.process.pid}" in second.said.read_text()
    assert first.status() == 200


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = Serve(tmp_path / "data", "--port", str(port))

        assert service.process.wait(30) == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in service.said.read_text()


def test_a_redis_of_the_users_own_is_used(serve, redis_url):
    service = serve(env={"CCD_REDIS_URL": redis_url}).wait_until_ready()

    assert service.status() == 200
    assert not (service.data / "valkey").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_for_other_machines_needs_keys(refused, host):
    told = refused("--host", host, "--no-auth")

    assert told.exit_code == 2
    assert f"{host} can be reached from other machines" in told.stderr


@pytest.mark.parametrize(
    ("setting", "value"), [("CCD_LEASE_SECONDS", "soon"), ("CCD_FAULTS", "unit.bach=kill")]
)
def test_a_setting_that_makes_no_sense_is_named(refused, monkeypatch, setting, value):
    monkeypatch.setenv(setting, value)

    told = refused()

    assert told.exit_code == 2
    assert setting in told.stderr
    assert value in told.stderr
