"""A real Valkey for the whole run, emptied before each test that asks for it; faults by seed."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.children import stop_child
from app.valkey import start_valkey, valkey_url
from workers.settings import Settings
from workers.store import Store, connect

#: Where the faults are put in that are drawn by chance.
FAULTS = "faults"
#: The seed of a run that does not have all faults: it gives the same answer every time.
USUAL_SEED = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(FAULTS)
    group.addoption("--long", action="store_true", help="also the faults that take long")
    group.addoption(
        "--fault-seed", type=int, help="what decides where faults fall; with --long a new one"
    )
    group.addoption("--fault-record", type=Path, help="add this run to those of a JSON file")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Processes that share the tests share the seed."""
    node.workerinput["fault_seed"] = node.config.option.fault_seed


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.option.fault_seed = config.workerinput["fault_seed"]
    if config.option.fault_seed is None:
        new = secrets.randbelow(10**6)
        config.option.fault_seed = new if config.option.long else USUAL_SEED
    # Keys are the point of few tests: those ask for them. The user's own stay untouched.
    os.environ["CCD_AUTH"] = "false"
    os.environ["CCD_CREDENTIALS"] = str(Path(tempfile.gettempdir()) / "ccd-no-credentials.json")


def pytest_report_header(config: pytest.Config) -> str:
    known = "all" if config.option.long else "the telling few; --long has all"
    return f"faults: {known}; --fault-seed {config.option.fault_seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.long:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed and FAULTS in item.path.parts:
        seed = f"the same faults again: --fault-seed {item.config.option.fault_seed}"
        report.sections.append(("fault seed", seed))
    return report


@pytest.fixture(scope="session")
def fault_seed(pytestconfig: pytest.Config) -> int:
    """What `--fault-seed` says, or a new one."""
    return int(pytestconfig.option.fault_seed)


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
