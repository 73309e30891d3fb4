"""Whatever happens in whatever order: the invariants of the store hold."""

import shutil
from contextlib import suppress
from functools import partial

import pytest

from tests.faults.schedules import Schedule
from tests.store_calls import at_once, claim, register, submit, worker_of
from tests.valkeys import mortal_valkey
from workers.files import DataFolder
from workers.jobs import Lane, Phase, Status
from workers.settings import Settings
from workers.store import IllegalMove, Renewal, StaleClaim, connect

STEPS = 60
PAIR = Phase("embed", Lane.METHOD, units=2)
SCORE = Phase("score", Lane.METHOD)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Nothing here cuts the power."""
    monkeypatch.setattr("workers.durable.os.fsync", lambda _: None)


def run_schedule(seed, client, root, cut=None):
    """What was done in it, and what was seen of it."""
    folder = DataFolder(root / f"schedule-{seed}")
    folder.create()
    schedule = Schedule(seed, client, folder)
    try:
        schedule.run(STEPS)
        if cut:
            schedule.roll_back(cut)
        schedule.end()
    except BaseException as error:
        error.add_note(f"schedule {seed}: {', '.join(schedule.log)}")
        raise
    shutil.rmtree(folder.root)
    return schedule.log, schedule.sights


def everything(client):
    kinds = {key: client.type(key) for key in sorted(client.keys())}
    return {key: read(client, key, kind) for key, kind in kinds.items()}


def read(client, key, kind):
    calls = {
        "hash": lambda: client.hgetall(key),
        "set": lambda: client.smembers(key),
        "zset": lambda: client.zrange(key, 0, -1, withscores=True),
        "list": lambda: client.lrange(key, 0, -1),
        "stream": lambda: client.xrange(key),
        "string": lambda: client.get(key),
    }
    return calls[kind]()


def run_schedules(count, first, client, root):
    for seed in range(first, first + count):
        run_schedule(seed, client, root)


def test_fifty_schedules_break_no_invariant(fault_seed, redis_client, tmp_path):
    run_schedules(50, fault_seed * 1000, redis_client, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_thousand_schedules_break_no_invariant(fault_seed, redis_client, tmp_path):
    run_schedules(1000, fault_seed * 1000, redis_client, tmp_path)


def test_a_schedule_can_be_had_again_by_its_seed(fault_seed, redis_client, tmp_path):
    first = run_schedule(fault_seed, redis_client, tmp_path)

    assert run_schedule(fault_seed, redis_client, tmp_path) == first
    assert run_schedule(fault_seed + 1, redis_client, tmp_path) != first


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.long)])
def test_the_last_second_of_redis_can_be_lost(count, fault_seed, chance, tmp_path):
    with mortal_valkey() as server, connect(Settings(redis_url=server.url)) as client:

        def cut():
            server.kill()
            written = server.journal.stat().st_size - begun
            server.cut(chance.randrange(1, min(written, 64 << 10)))
            server.start()

        for seed in range(fault_seed * 1000, fault_seed * 1000 + count):
            client.flushall()
            begun = server.journal.stat().st_size  # of this schedule, not of the one before
            run_schedule(seed, client, tmp_path, cut)


def work(store):
    """Unit after unit, as a worker that hears of a cancel with its first heartbeat."""
    while held := claim(store):
        try:
            if store.renew(held, done=0) is Renewal.CANCEL:
                store.stopped(held)
            else:
                store.complete(held, output="x", done=1)
        except StaleClaim:
            pass


def cancel(store, id):
    """Whether the cancel was accepted."""
    with suppress(IllegalMove):
        store.cancel(id)
        return True
    return False


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_a_cancel_among_claims_and_ends_leads_to_one_end(count, store, chance):
    accepted = 0
    for n in range(count):
        id = f"job_{n}"
        submit(store, id, [PAIR, SCORE])
        calls = [lambda: work(store), lambda: work(store), partial(cancel, store, id)]
        order = chance.sample(range(3), 3)
        answers = at_once(*(calls[i] for i in order))
        was_accepted = answers[order.index(2)]
        work(store)  # what the two left because nothing waited at that moment

        ended = store.get(id).status
        assert ended is (Status.CANCELLED if was_accepted else Status.SUCCEEDED), id
        assert was_accepted or ("score", 0) in store.outputs(id)
        assert store.live_nonces() == set()
        assert store.waiting(Lane.METHOD) == 0
        accepted += was_accepted
    assert accepted > 0


def finished(store):
    submit(store)
    work(store)


def cancelled(store):
    submit(store)
    store.cancel("job_1")


def failed_by_another(store):
    register(store)
    submit(store, waits_for="ds_1")
    store.cancel("ds_1")


def deleted(store):
    finished(store)
    store.delete("job_1")


@pytest.mark.parametrize("end", [finished, cancelled, failed_by_another, deleted])
def test_a_bell_for_what_has_ended_changes_nothing(end, store, redis_client, tmp_path):
    end(store)
    before = everything(redis_client)

    for lane in Lane:
        worker_of(store, Settings(data=tmp_path), lane).run_until_empty()

    assert everything(redis_client) == before
