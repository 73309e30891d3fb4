"""The golden run: what a job leaves behind that nothing disturbed, byte for byte."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from demo.world import write_world
from tests.faults.worlds import IMAGES, World, result_of, start_forks


@dataclass(frozen=True)
class Golden:
    """The undisturbed run of the job that every fault is put into."""

    scenes: Path
    data: Path
    result: object


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
        return Golden(scenes, data, result_of(world))
    finally:
        world.end()


@pytest.fixture
def new_world(golden, redis_url, tmp_path):
    """To make a world with settings of one's own; nothing has been done in it."""
    worlds = []

    def make(*, is_registered=True, **settings):
        data = tmp_path / f"data-{len(worlds)}"
        if is_registered:  # the record is new, its work is done already
            kept = golden.data / "datasets" / "ds_1" / "data"
            shutil.copytree(kept, data / "datasets" / "ds_1" / "data")
        worlds.append(World(redis_url, data, golden.scenes, **settings))
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
