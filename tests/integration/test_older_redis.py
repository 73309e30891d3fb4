"""A Redis that an older version filled, without submitters, is taken over where it stands."""

import pytest

from tests.store_calls import CHECK, EPOCHS, SHARDS, claim, lose, register, submit
from workers.jobs import Kind, Lane, Status


def age(client):
    """Give what lies in Redis the form in which a version that knew no submitters left it."""
    for lane in Lane:
        for name in ("queue", "pending"):
            if client.exists(f"ccd:{name}:{lane}:default"):
                client.rename(f"ccd:{name}:{lane}:default", f"ccd:{name}:{lane}")
        for name in ("turns", "virtual", "rested", "asked", "left", "held"):
            client.delete(f"ccd:{name}:{lane}")
    for unit in client.scan_iter("ccd:unit:*"):
        client.hdel(unit, "images", "paid", "device", "heard_ms")
    for record in client.scan_iter("ccd:record:*"):
        client.hdel(record, "submitter", "passes", "left")


def finish(store, lane=Lane.METHOD):
    """Do what waits, unit by unit; what it was."""
    found = []
    while held := claim(store, lane):
        store.complete(held, output="x", done=5)
        found.append(held.unit_id)
    return found


def test_what_waits_in_an_older_queue_is_done_in_its_order(store, redis_client):
    submit(store, "job_a", [SHARDS])
    submit(store, "job_b", [*CHECK, EPOCHS])
    age(redis_client)

    assert finish(store) == [
        *(f"job_a/embed/00000{n}" for n in range(3)),
        "job_b/check/000000",
        *(f"job_b/train/00000{n}" for n in range(2)),
    ]
    assert all(record.status is Status.SUCCEEDED for record in store.list(Kind.JOB)[0])
    left = set(redis_client.keys("ccd:*:method*"))
    assert left <= {"ccd:bell:method"}  # of a service that runs beside and rang for the work


def test_what_an_older_worker_has_in_hand_is_taken_from_it(store, redis_client):
    submit(store, phases=[*CHECK, SHARDS])
    held = claim(store)
    age(redis_client)

    store.complete(held, output="x", done=5, reused=True)
    assert len(finish(store)) == SHARDS.units


@pytest.mark.parametrize("back", [lambda store, held: store.give_back(held), lose])
def test_what_comes_back_from_an_older_worker_is_done(store, redis_client, back):
    submit(store)
    held = claim(store)
    age(redis_client)
    back(store, held)

    assert finish(store) == [f"job_1/embed/00000{n}" for n in range(3)]


def test_an_older_line_is_stood_in_still(store, redis_client):
    register(store)
    for n in range(3):
        submit(store, f"job_{n}", CHECK)
    submit(store, "job_waits", CHECK, waits_for="ds_1")
    age(redis_client)
    claim(store)

    ids = [f"job_{n}" for n in range(3)]
    queue = store.queue(Lane.METHOD, [*ids, "job_waits"])
    assert [queue.position(id) for id in [*ids, "job_waits"]] == [None, 1, 2, None]
    finish(store, Lane.IO)
    assert store.queue(Lane.METHOD, ["job_waits"]).position("job_waits") == 3


def test_what_an_older_queue_holds_of_ended_work_is_left_out(store, redis_client):
    submit(store, "job_gone")
    submit(store, "job_1")
    age(redis_client)
    store.cancel("job_gone")

    assert finish(store) == [f"job_1/embed/00000{n}" for n in range(3)]
    left = set(redis_client.keys("ccd:*:method*"))
    assert left <= {"ccd:bell:method"}  # of a service that runs beside and rang for the work


def test_an_older_queue_of_any_length_is_taken_over(store, redis_client):
    for n in range(1200):
        submit(store, f"job_{n:04}", CHECK)
    age(redis_client)

    assert len(finish(store)) == 1200
