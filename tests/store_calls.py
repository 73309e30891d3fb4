"""Short forms of calls to the job store, for tests."""

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

from workers.jobs import JobError, Kind, Lane, Phase
from workers.registry import Standing
from workers.worker import Worker

REGISTER = [Phase("register", Lane.IO)]
CHECK = [Phase("check", Lane.METHOD, weight=0)]
SHARDS = Phase("embed", Lane.METHOD, units=3, weight=1)
EPOCHS = Phase("train", Lane.METHOD, units=2, sequential=True, weight=3)
BROKEN = JobError("no_images", "register", "The folder holds no image.", "Name another folder.")
#: Of a job whose life is short.
SHORT_PLAN = [
    Phase("embed", Lane.METHOD, units=2),
    Phase("train", Lane.METHOD, units=2, sequential=True),
]
WARNING = {"code": "never_top_1", "classes": [], "message": "No image is a bus."}
CURVE = [
    {"phase": "train", "epoch": 0, "loss": 0.5, "map": 0.25},
    {"phase": "train", "epoch": 1, "loss": 0.25, "map": float("nan")},
]
#: What a worker that has nothing to do says of itself.
STANDING = Standing(
    name="method@a:1",
    lane=Lane.METHOD,
    host="a",
    pid=1,
    version="1.0",
    method=1,
    device="Some GPU",
    gpu="GPU-a",
    memory_bytes=1000,
    memory_used_bytes=10,
    gpu_utilization=0.75,
    draining=False,
    unit=None,
    images_per_second=None,
)


def submit(store, id="job_1", phases=(SHARDS,), **more):
    return store.create(Kind.JOB, id, request={"id": id}, phases=phases, **more)


def register(store, id="ds_1"):
    return store.create(Kind.DATASET, id, request={}, phases=REGISTER)


def claim(store, lane=Lane.METHOD, worker="w"):
    return store.claim(lane, worker=worker, nonce=secrets.token_hex(8))


def worker_of(store, settings, lane=Lane.IO, is_draining=lambda: False):
    """A worker in this process, which rings for no other."""
    return Worker(
        lane,
        settings=settings,
        store=store,
        name=f"{lane}@test:1",
        is_draining=is_draining,
        ring=lambda *_: None,
    )


def position(store, id, lane=Lane.METHOD):
    """1 for the record that is started next in its lane; None for one that is not in line."""
    return store.queue(lane, [id]).position(id)


def live(store, lane=Lane.METHOD):
    """A job from its first unit to its end, step by step."""
    store.complete(
        claim(store, lane), output="c", done=1, plan=SHORT_PLAN, facts={"warnings": [WARNING]}
    )
    yield
    for _ in range(2):
        store.complete(claim(store, lane), output="e", done=1)
        yield
    for epochs in (1, 2):
        held = claim(store, lane)
        yield
        store.renew(held, done=1, total=2)
        yield
        store.complete(held, output="t", done=1, facts={"curve": CURVE[:epochs]})
        yield


def live_whole(store):
    for _ in live(store):
        pass


def lose(store, lost):
    """As if the worker had died and its lease had ended."""
    store.release(lost.worker)
    return store.requeue(lost.unit_id, lost.nonce)


def next_millisecond(store):
    """Until the clock of Redis, which gives records their age, has moved on."""
    now = store.redis.time()
    while store.redis.time()[1] // 1000 == now[1] // 1000:
        pass


def at_once(*calls):
    """What the calls answer when each is made by a thread of its own at the same moment."""
    barrier = threading.Barrier(len(calls))

    def make(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))
