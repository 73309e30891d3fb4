"""A process dies while it reaps: the lost unit is counted once, and is not forgotten."""

import multiprocessing
import signal

import pytest

from tests.store_calls import claim, submit
from workers import fault_points
from workers.fault_points import read_faults
from workers.jobs import Lane, Phase
from workers.reaper import Reaper
from workers.settings import Settings
from workers.store import Store, connect

UNIT = "job_1/embed/000000"


def reap(redis_url, faults, marks):
    """The life of a process that reaps until it is killed, or has nothing left to reap."""
    fault_points.arm(read_faults(faults), marks)
    store = Store(connect(Settings(redis_url=redis_url)), backoff_seconds=(0,))
    hands = {"ring": lambda *_: None, "sweep": lambda _: None, "keep_end": lambda *_: True}
    reaper = Reaper(store, Settings(redis_url=redis_url), **hands)
    reaper.grace_seconds = 0
    while store.live_nonces():
        reaper.run_once()


@pytest.mark.parametrize(("moment", "counted"), [("before", "0"), ("after", "1")])
def test_a_reaper_that_is_killed_while_it_reaps_neither_forgets_a_unit_nor_counts_it_twice(
    store, redis_url, tmp_path, moment, counted
):
    submit(store, phases=[Phase("embed", Lane.METHOD)])
    lost = claim(store)
    store.release(lost.worker)
    faults = (redis_url, f"reaper.{moment}_requeue=kill", tmp_path)
    first = multiprocessing.get_context("spawn").Process(target=reap, args=faults)
    first.start()
    first.join()

    assert first.exitcode == -signal.SIGKILL
    assert store.redis.hget(f"ccd:unit:{UNIT}", "attempts") == counted
    reap(redis_url, "", tmp_path)
    assert store.redis.hget(f"ccd:unit:{UNIT}", "attempts") == "1"
    assert claim(store).attempt == 2
