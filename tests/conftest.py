"""A real Valkey for the whole run, emptied before each test that asks for it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.children import stop_child
from app.valkey import start_valkey, valkey_url
from workers.settings import Settings
from workers.store import Store, connect


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """The address of the server. Its folder is short, as the path of a socket must be."""
    folder = Path(tempfile.mkdtemp(prefix="ccd-", dir="/tmp"))
    socket = folder / "valkey.sock"
    server = start_valkey(folder, socket, log=folder / "valkey.log")
    yield valkey_url(socket)
    stop_child(server, seconds=10)
    shutil.rmtree(folder)


@pytest.fixture
def redis_url(valkey_server: str) -> str:
    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(Settings(redis_url=redis_url)) as client:
        yield client


@pytest.fixture
def store(redis_client: redis.Redis) -> Store:
    """Lost units are due again at once."""
    return Store(redis_client, backoff_seconds=(0,))
