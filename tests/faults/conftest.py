"""The golden run: what a job leaves behind that nothing disturbed, byte for byte."""

import json
import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from demo.world import write_world
from tests.faults.hands import start_forks
from tests.faults.worlds import (
    DATASET,
    IMAGES,
    JOB,
    PHASES,
    Result,
    World,
    result_of,
)
from workers.files import DataFolder


@dataclass(frozen=True)
class Golden:
    """The undisturbed run of the job that every fault is put into."""

    scenes: Path
    folder: DataFolder
    outputs: dict[tuple[str, int], str]
    result: Result

    def copy(self, data, before):
        """Put what is done before a phase into another data folder."""
        target = DataFolder(data)
        if before != "register":
            shutil.copytree(self.folder.dataset(DATASET), target.dataset(DATASET))
        # An epoch's state has the digest of its output.
        missing = {
            _digest(name)
            for (phase, _), name in self.outputs.items()
            if PHASES.index(phase) >= PHASES.index(before)
        }
        for path in self.folder.phases.iterdir():
            if _digest(path.name) not in missing:
                shutil.copytree(path, target.phase(path.name))


def _digest(name):
    return name.partition("-")[2]


def pytest_terminal_summary(terminalreporter, config):
    """Add what came out to the file of `--fault-record`."""
    file = config.option.fault_record
    if file is None or hasattr(config, "workerinput"):
        return
    ended = {
        kind: terminalreporter.getreports(kind) for kind in ("passed", "failed", "error", "skipped")
    }
    not_passed = [*ended["failed"], *ended["error"], *ended["skipped"]]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    run = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit.stdout.strip(),
        "seed": config.option.fault_seed,
        "passed": len(ended["passed"]),
        "failed": len(ended["failed"] + ended["error"]),
        "skipped": len(ended["skipped"]),
        "not_passed": sorted({report.location[2].partition("[")[0] for report in not_passed}),
    }
    runs = json.loads(file.read_text())["runs"] if file.exists() else []
    file.write_text(json.dumps({"runs": [*runs, run]}, indent=1) + "\n")


@pytest.fixture(scope="session")
def golden(valkey_server, tmp_path_factory):
    """Run once; a fault may change no byte of it."""
    start_forks()
    scenes = tmp_path_factory.mktemp("scenes")
    write_world(scenes, count=IMAGES, seed=7)
    (scenes / "truth.json").unlink()
    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
    data = tmp_path_factory.mktemp("golden") / "data"
    world = World(valkey_server, data, scenes)
    try:
        world.submit()
        world.hand()
        world.succeed()
        return Golden(scenes, world.folder, world.store.outputs(JOB), result_of(world))
    finally:
        world.end()


@pytest.fixture
def new_world(golden, redis_url, tmp_path):
    """To make a world with settings of one's own, and the work before a phase done already."""
    worlds = []

    def make(*, before="check", at=redis_url, **settings):
        data = tmp_path / f"data-{len(worlds)}"
        golden.copy(data, before)
        worlds.append(World(at, data, golden.scenes, **settings))
        return worlds[-1]

    yield make
    for world in worlds:
        world.end()


@pytest.fixture
def world(new_world):
    return new_world()


@pytest.fixture
def chance(request, fault_seed):
    """Random numbers that the seed and the name of the test decide."""
    return random.Random(f"{fault_seed} {request.node.name}")
