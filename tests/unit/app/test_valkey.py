"""The embedded Valkey: a real server, our arguments, its data kept."""

import shutil
import tempfile
from pathlib import Path

import pytest
import redis

from app.children import stop_child
from app.valkey import ValkeyNotStarted, start_valkey, valkey_url


@pytest.fixture
def place():
    folder = Path(tempfile.mkdtemp(prefix="ccd-", dir="/tmp"))  # a socket's path must be short
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(place):
    servers = []

    def start():
        server = start_valkey(place / "kept", place / "v.sock", log=place / "v.log")
        servers.append(server)
        return server

    yield start
    for server in servers:
        stop_child(server, seconds=5)


def client(place):
    return redis.Redis.from_url(valkey_url(place / "v.sock"), decode_responses=True)


def test_it_answers_when_the_call_returns(start, place):
    start()

    with client(place) as valkey:
        assert valkey.ping()


def test_it_writes_every_second_and_throws_nothing_out(start, place):
    start()

    with client(place) as valkey:
        names = ["appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "port", "save"]
        asked = valkey.config_get(*names)
    assert asked == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory": str(2 << 30),
        "maxmemory-policy": "noeviction",
        "port": "0",
        "save": "",
    }


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_what_was_acknowledged_is_there_after_the_end(start, place, end):
    server = start()
    with client(place) as valkey:
        valkey.set("kept", "yes")

    getattr(server, end)()
    server.wait()
    start()

    with client(place) as valkey:
        assert valkey.get("kept") == "yes"


def test_an_orphan_on_the_same_socket_is_ended_first(start, place):
    orphan = start()

    start()

    assert orphan.wait(5) == 0


def test_a_server_that_ends_is_reported_with_the_end_of_its_log(start, place):
    server = start()
    stop_child(server, seconds=5)
    manifest = place / "kept" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("rubbish")

    with pytest.raises(ValkeyNotStarted, match=r"(?s)code 1.*FATAL AOF MANIFEST"):
        start()


def test_a_socket_path_that_the_system_refuses_is_named(place):
    socket = place / ("s" * 120)

    with pytest.raises(ValkeyNotStarted, match=f"at most 103 bytes.*{socket}"):
        start_valkey(place / "kept", socket, log=place / "v.log")
