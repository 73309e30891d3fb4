"""Claims, phases and lost work in the job store."""

import time

import pytest

from tests.store_calls import (
    BROKEN,
    CHECK,
    EPOCHS,
    SHARDS,
    at_once,
    claim,
    lose,
    next_millisecond,
    position,
    register,
    submit,
)
from workers.jobs import Lane, Phase, Status
from workers.store import Renewal, StaleClaim, Store

# ---------------------------------------------------------------------- claims


def test_fifty_claims_give_one_claim_for_one_unit(store):
    submit(store, phases=CHECK)
    claims = at_once(*[lambda: claim(store)] * 50)

    assert len([found for found in claims if found]) == 1


def test_a_claim_tells_what_to_run(store):
    submit(store)
    held = store.claim(Lane.METHOD, worker="w", nonce="n")

    assert (held.phase, held.unit, held.attempt, held.nonce) == ("embed", 0, 1, "n")
    assert (held.lane, held.worker, held.unit_id) == (Lane.METHOD, "w", "job_1/embed/000000")
    assert (held.record.id, held.record.status) == ("job_1", Status.RUNNING)


def test_the_same_nonce_gets_the_same_unit_again(store):
    submit(store)
    first = store.claim(Lane.METHOD, worker="w", nonce="n")
    again = store.claim(Lane.METHOD, worker="w", nonce="n")

    assert again == first
    assert store.waiting(Lane.METHOD) == 2


def test_a_lane_has_only_its_own_units(store):
    submit(store)

    assert claim(store, Lane.IO) is None
    assert (store.waiting(Lane.IO), store.waiting(Lane.METHOD)) == (0, 3)


def test_units_are_claimed_by_priority_then_age_then_number(store):
    submit(store, "job_old", [SHARDS])
    next_millisecond(store)
    submit(store, "job_young", CHECK)
    submit(store, "job_urgent", CHECK, priority=1)
    claims = [claim(store) for _ in range(5)]

    assert [(held.record.id, held.unit) for held in claims] == [
        ("job_urgent", 0),
        ("job_old", 0),
        ("job_old", 1),
        ("job_old", 2),
        ("job_young", 0),
    ]


def test_the_position_counts_records_that_nobody_has_started(store):
    register(store)
    for n in range(3):
        submit(store, f"job_{n}")
        next_millisecond(store)
    claim(store)

    assert [position(store, f"job_{n}") for n in range(3)] == [None, 1, 2]
    assert position(store, "ds_1", Lane.IO) == 1


def test_a_renewal_prolongs_the_lease(redis_client):
    store = Store(redis_client, lease_seconds=60)
    submit(store)
    held = claim(store)
    store.release("w")
    assert store.expired() == [(held.unit_id, held.nonce)]
    store.renew(held, done=1)

    assert store.expired() == []
    assert store.requeue(held.unit_id, held.nonce) is None


# ---------------------------------------------------------------------- phases


def test_parallel_units_open_together_and_the_next_phase_behind_the_last(store):
    submit(store, phases=[SHARDS, EPOCHS])
    claims = [claim(store) for _ in range(3)]
    rings = [store.complete(held, output=f"{held.unit}", done=1) for held in claims]

    assert rings == [{}, {}, {Lane.METHOD: 1}]
    assert store.get("job_1").phase == "train"


def test_sequential_units_open_one_by_one(store):
    submit(store, phases=[EPOCHS])
    first = claim(store)
    assert claim(store) is None
    assert store.complete(first, output="a", done=1) == {Lane.METHOD: 1}
    second = claim(store)

    assert (first.unit, second.unit) == (0, 1)
    assert store.complete(second, output="b", done=1) == {}


def test_a_plan_is_run_behind_the_phase_that_gave_it(store):
    submit(store, phases=CHECK)
    rings = store.complete(claim(store), output="", done=1, plan=[SHARDS, EPOCHS])

    assert rings == {Lane.METHOD: 3}
    assert store.get("job_1").phases == (*CHECK, SHARDS, EPOCHS)


def test_a_phase_of_the_other_lane_rings_there(store):
    submit(store, phases=[*CHECK, Phase("export", Lane.IO, units=2)])

    assert store.complete(claim(store), output="", done=1) == {Lane.IO: 2}


def test_a_unit_that_is_done_leaves_no_key_behind(store, redis_client):
    submit(store, phases=[SHARDS])
    for _ in range(3):
        store.complete(claim(store), output="x", done=1)

    told = {"ccd:lines:job_1", "ccd:unwritten"}  # until a reaper takes it to disk
    assert set(redis_client.keys()) - told == {
        "ccd:events:job_1",  # for an hour
        "ccd:outputs:job_1",
        "ccd:record:job_1",
        "ccd:records:job",
        "ccd:projects",  # that ever had a record
        "ccd:stats",  # sums over all records
    }


@pytest.mark.parametrize("end", ["complete", "fail", "requeue", "taken over"])
def test_a_claim_that_has_ended_can_write_nothing(store, end):
    submit(store)
    held = claim(store)
    if end == "complete":
        store.complete(held, output="x", done=1)
    elif end == "fail":
        store.fail(held, BROKEN)
    else:
        lose(store, held)
    if end == "taken over":
        units = [claim(store, worker="other").unit_id for _ in range(SHARDS.units)]
        assert held.unit_id in units
    before = store.get("job_1")

    assert store.renew(held, done=1) is Renewal.FENCED
    for write in (
        lambda: store.complete(held, output="y", done=1),
        lambda: store.fail(held, BROKEN),
        lambda: store.give_back(held),
        lambda: store.stopped(held),
    ):
        with pytest.raises(StaleClaim, match="job_1/embed/000000"):
            write()
    assert store.requeue(held.unit_id, held.nonce) is None
    assert store.get("job_1") == before


def test_a_failure_takes_the_other_units_from_their_workers(store):
    submit(store)
    first, second = claim(store), claim(store)
    assert store.fail(first, BROKEN) is Status.FAILED

    assert store.get("job_1").error == BROKEN
    assert store.renew(second, done=1) is Renewal.FENCED
    assert claim(store) is None


def test_a_unit_given_back_is_claimed_again_as_the_same_attempt(store):
    submit(store, phases=CHECK)
    assert store.give_back(claim(store)) is Status.RUNNING

    assert claim(store).attempt == 1


# ---------------------------------------------------------------------- lost work


def test_a_lost_unit_is_tried_three_times_then_its_record_fails(store):
    submit(store)
    attempts, statuses = [], []
    for _ in range(3):
        held = claim(store)
        attempts.append((held.unit, held.attempt))
        statuses.append(lose(store, held))
    error = store.get("job_1").error

    assert attempts == [(0, 1), (0, 2), (0, 3)]
    assert statuses == [Status.RUNNING, Status.RUNNING, Status.FAILED]
    assert (error.code, error.phase, error.retryable) == ("worker_lost", "embed", True)
    assert "3 attempts at job_1/embed/000000" in error.message
    assert error.hint
    assert claim(store) is None


def test_attempts_are_counted_by_unit(store):
    submit(store)
    for _ in range(2):
        for held in [claim(store) for _ in range(3)]:
            lose(store, held)

    assert store.get("job_1").status is Status.RUNNING
    assert {claim(store).attempt for _ in range(3)} == {3}


def test_a_lost_unit_waits_longer_each_time(redis_client):
    store = Store(redis_client, backoff_seconds=(30, 300), max_attempts=4)
    submit(store, phases=CHECK)
    waits = []
    for _ in range(3):
        before = time.time()
        lose(store, claim(store))
        assert claim(store) is None
        [(unit, due)] = redis_client.zrange("ccd:delayed:method", 0, -1, withscores=True)
        waits.append(due / 1000 - before)
        redis_client.zadd("ccd:delayed:method", {unit: 0})

    assert waits == pytest.approx([30, 300, 300], abs=5)


def test_a_delayed_unit_waits_for_a_worker_once_it_is_due(redis_client):
    store = Store(redis_client, backoff_seconds=(30,))
    submit(store, phases=CHECK)
    lose(store, claim(store))
    assert store.waiting(Lane.METHOD) == 0
    redis_client.zadd("ccd:delayed:method", {"job_1/check/000000": 0})

    assert store.waiting(Lane.METHOD) == 1
    assert claim(store).attempt == 2


def test_a_lease_that_runs_is_not_taken(store):
    submit(store)
    held = claim(store)

    assert store.expired() == []
    assert store.requeue(held.unit_id, held.nonce) is None
    assert store.renew(held, done=1) is Renewal.OK


def test_release_ends_the_leases_of_one_worker_alone(store):
    submit(store)
    mine, theirs = claim(store, worker="mine"), claim(store, worker="theirs")

    assert store.release("mine") == 1
    assert store.expired() == [(mine.unit_id, mine.nonce)]
    assert store.release_all() == 2
    assert {nonce for _, nonce in store.expired()} == {mine.nonce, theirs.nonce}


def test_live_nonces_are_those_of_claims_in_force(store):
    submit(store)
    first, second = claim(store), claim(store)
    store.complete(first, output="x", done=1)

    assert store.live_nonces() == {second.nonce}
