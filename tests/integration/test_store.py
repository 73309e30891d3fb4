"""The job store against a real Valkey: what each call does, and what it refuses."""

import itertools
import secrets
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from workers.jobs import MOVES, JobError, Kind, Lane, Phase, Status
from workers.settings import Settings
from workers.store import (
    BadCursor,
    DatasetInUse,
    IllegalMove,
    RecordNotFound,
    Renewal,
    StaleClaim,
    Store,
    _moves_by_target,
    connect,
    open_store,
)

REGISTER = [Phase("register", Lane.IO)]
CHECK = [Phase("check", Lane.METHOD, weight=0)]
SHARDS = Phase("embed", Lane.METHOD, units=3, weight=1)
EPOCHS = Phase("train", Lane.METHOD, units=2, sequential=True, weight=3)
BROKEN = JobError("no_images", "register", "The folder holds no image.", "Name another folder.")
LOSS = JobError("worker_lost", "embed", "", retryable=True)


@pytest.fixture
def store(redis_client):
    return Store(redis_client, backoff_seconds=(0,))


def submit(store, id="job_1", phases=(SHARDS,), **more):
    return store.create(Kind.JOB, id, request={"id": id}, phases=phases, **more)


def register(store, id="ds_1"):
    return store.create(Kind.DATASET, id, request={}, phases=REGISTER)


def claim(store, lane=Lane.METHOD, worker="w"):
    return store.claim(lane, worker=worker, nonce=secrets.token_hex(8))


def lose(store, lost):
    """As if the worker had died and its lease had ended."""
    store.release(lost.worker)
    return store.requeue(lost.unit_id, lost.nonce)


def next_millisecond(store):
    """Until the clock of Redis, which gives records their age, has moved on."""
    now = store.redis.time()
    while store.redis.time()[1] // 1000 == now[1] // 1000:
        pass


# ---------------------------------------------------------------------- records


def test_a_new_record_is_queued_as_asked(store):
    record = submit(store, priority=3)

    assert (record.kind, record.id, record.status) == (Kind.JOB, "job_1", Status.QUEUED)
    assert (record.request, record.facts, record.phases) == ({"id": "job_1"}, {}, (SHARDS,))
    assert (record.priority, record.version, record.waits_for) == (3, 1, None)
    assert (record.started_at, record.finished_at, record.error) == (None, None, None)
    assert record == store.get("job_1")


def test_creating_a_record_twice_keeps_the_first(store):
    submit(store)
    started = claim(store)

    assert submit(store, phases=[EPOCHS]).phases == (SHARDS,)
    assert store.get("job_1").status is Status.RUNNING
    assert store.renew(started, done=1) is Renewal.OK


@pytest.mark.parametrize("priority", [-101, 101])
def test_a_priority_that_would_blur_the_age_is_refused(store, priority):
    with pytest.raises(ValueError, match=r"must lie in \[-100, 100\]"):
        submit(store, priority=priority)


@pytest.mark.parametrize("call", ["get", "cancel", "delete"])
def test_an_unknown_id_is_not_found(store, call):
    with pytest.raises(RecordNotFound, match="no record job_9"):
        getattr(store, call)("job_9")


def test_a_record_goes_from_queued_to_succeeded(store):
    submit(store, phases=[Phase("embed", Lane.METHOD)])
    held = claim(store)
    running = store.get("job_1")
    assert store.complete(held, output="embed-1f", done=8, facts={"n": 1}) == {}
    done = store.get("job_1")

    assert (running.status, running.phase) == (Status.RUNNING, "embed")
    assert (done.status, done.progress.percent) == (Status.SUCCEEDED, 100)
    assert done.created_at <= done.started_at <= done.finished_at
    assert store.outputs("job_1") == {("embed", 0): "embed-1f"}


def test_facts_are_merged_and_come_back_to_the_last_digit(store):
    submit(store, phases=[EPOCHS])
    first = {"loss": 0.1234567890123456789, "big": 2**53 + 1, "empty": [], "é": None}
    store.complete(claim(store), output="a", done=1, facts=first)
    store.complete(claim(store), output="b", done=1, facts={"loss": 1e-300})

    assert store.get("job_1").facts == first | {"loss": 1e-300}


def test_the_phases_of_a_plan_come_back_to_the_last_digit(store):
    submit(store, phases=CHECK)
    planned = Phase("embed", Lane.METHOD, weight=0.1234567890123456789, items=2**40)
    store.complete(claim(store), output="", done=1, plan=[planned])

    assert store.get("job_1").phases == (*CHECK, planned)


def test_every_visible_change_raises_the_version(store):
    versions = [submit(store).version]
    held = claim(store)
    versions.append(store.get("job_1").version)
    store.renew(held, done=1, total=2)
    versions.append(store.get("job_1").version)
    store.complete(held, output="x", done=2)
    versions.append(store.get("job_1").version)
    store.give_back(claim(store))
    versions.append(store.get("job_1").version)
    lose(store, claim(store))
    versions.append(store.get("job_1").version)
    store.cancel("job_1")
    versions.append(store.get("job_1").version)

    assert all(before < after for before, after in itertools.pairwise(versions))


def test_the_scripts_move_only_as_the_table_says():
    pairs = {(before, to) for to, froms in _moves_by_target().items() for before in froms}

    assert pairs == {(before, to) for before, moves in MOVES.items() for to in moves}


# ---------------------------------------------------------------------- the list


def test_the_list_is_newest_first_in_pages(store):
    for n in range(5):
        submit(store, f"job_{n}")
    register(store)

    first, cursor = store.list(Kind.JOB, limit=2)
    second, cursor = store.list(Kind.JOB, limit=2, cursor=cursor)
    third, end = store.list(Kind.JOB, limit=2, cursor=cursor)

    assert [record.id for record in first + second + third] == [f"job_{4 - n}" for n in range(5)]
    assert end is None


def test_records_of_one_millisecond_are_listed_once_each(store, redis_client):
    for n in range(5):
        submit(store, f"job_{n}")
    redis_client.delete("ccd:records:job")
    redis_client.zadd("ccd:records:job", {f"1700000000000:job_{n}": 0 for n in range(5)})
    listed, cursor = store.list(Kind.JOB, limit=1)
    while cursor:
        page, cursor = store.list(Kind.JOB, limit=1, cursor=cursor)
        listed += page

    assert [record.id for record in listed] == ["job_4", "job_3", "job_2", "job_1", "job_0"]


def test_a_deleted_record_does_not_disturb_the_pages_behind_it(store):
    for n in range(4):
        submit(store, f"job_{n}", phases=CHECK)
    _, cursor = store.list(Kind.JOB, limit=2)
    store.cancel("job_2")
    store.delete("job_2")

    page, _ = store.list(Kind.JOB, limit=2, cursor=cursor)
    assert [record.id for record in page] == ["job_1", "job_0"]


def test_an_empty_list_has_no_next_page(store):
    assert store.list(Kind.PREDICTION) == ([], None)


@pytest.mark.parametrize("cursor", ["x", "ä", "am9iXzE", "____"])
def test_a_cursor_of_other_origin_is_refused(store, cursor):
    with pytest.raises(BadCursor):
        store.list(Kind.JOB, cursor=cursor)


# ---------------------------------------------------------------------- claims


def test_fifty_claims_give_one_claim_for_one_unit(store):
    submit(store, phases=CHECK)
    with ThreadPoolExecutor(50) as pool:
        claims = list(pool.map(lambda n: claim(store, worker=f"w{n}"), range(50)))

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

    assert [store.queue_position(f"job_{n}") for n in range(3)] == [None, 1, 2]
    assert store.queue_position("ds_1") == 1


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

    assert sorted(redis_client.keys()) == [
        "ccd:outputs:job_1",
        "ccd:record:job_1",
        "ccd:records:job",
    ]


@pytest.mark.parametrize("end", ["complete", "fail", "requeue"])
def test_a_claim_that_has_ended_can_write_nothing(store, end):
    submit(store)
    held = claim(store)
    if end == "complete":
        store.complete(held, output="x", done=1)
    elif end == "fail":
        store.fail(held, BROKEN)
    else:
        lose(store, held)
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


# ---------------------------------------------------------------------- cancel


def test_a_queued_record_is_cancelled_at_once(store):
    submit(store)

    assert store.cancel("job_1") is Status.CANCELLED
    assert claim(store) is None
    assert store.queue_position("job_1") is None


def test_a_running_record_is_cancelled_when_its_last_unit_has_stopped(store):
    submit(store)
    first, second = claim(store), claim(store)
    assert store.cancel("job_1") is Status.CANCELLING
    assert claim(store) is None
    assert store.renew(first, done=1) is Renewal.CANCEL

    assert store.stopped(first) is Status.CANCELLING
    assert store.stopped(second) is Status.CANCELLED


@pytest.mark.parametrize(
    "end",
    [
        lambda store, held: store.complete(held, output="x", done=1),
        lambda store, held: store.fail(held, BROKEN),
        lambda store, held: store.give_back(held),
        lambda store, held: store.stopped(held),
        lose,
    ],
    ids=["complete", "fail", "give_back", "stopped", "lost"],
)
def test_however_its_last_unit_ends_a_cancelling_record_is_cancelled(store, end):
    submit(store, phases=CHECK)
    held = claim(store)
    store.cancel("job_1")
    end(store, held)

    assert store.get("job_1").status is Status.CANCELLED
    assert claim(store) is None


def test_a_running_record_with_nothing_in_work_is_cancelled_at_once(store):
    submit(store)
    store.give_back(claim(store))

    assert store.cancel("job_1") is Status.CANCELLED


def test_cancelling_twice_changes_nothing(store):
    submit(store)
    claim(store)
    store.cancel("job_1")
    before = store.get("job_1")

    assert store.cancel("job_1") is Status.CANCELLING
    assert store.get("job_1") == before


def test_a_record_that_has_ended_cannot_be_cancelled(store):
    submit(store, phases=CHECK)
    store.complete(claim(store), output="", done=1)

    with pytest.raises(IllegalMove, match="job_1 is succeeded; it cannot become cancelled"):
        store.cancel("job_1")


def cancel_or_be_refused(store, id):
    """The status that a cancel led to, or that stood against it."""
    try:
        return store.cancel(id)
    except IllegalMove as refused:
        return refused.status


def at_once(*calls):
    """What the calls answer when each is made by a thread of its own at the same moment."""
    barrier = threading.Barrier(len(calls))

    def make(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))


def test_cancel_racing_with_complete_ends_in_one_of_two_ways(store):
    endings = {
        (Status.CANCELLING, Status.CANCELLED),  # the cancel came first
        (Status.SUCCEEDED, Status.SUCCEEDED),  # it came too late
    }
    for n in range(200):
        job = f"job_{n}"
        submit(store, job, CHECK)
        held = claim(store)
        _, answer = at_once(
            lambda held=held: store.complete(held, output="x", done=1),
            lambda job=job: cancel_or_be_refused(store, job),
        )

        assert (answer, store.get(job).status) in endings


def test_cancel_racing_with_claim_leaves_no_unit_behind(store, redis_client):
    for n in range(100):
        job = f"job_{n}"
        submit(store, job, CHECK)
        held, answer = at_once(
            lambda: claim(store), lambda job=job: cancel_or_be_refused(store, job)
        )
        assert answer is (Status.CANCELLING if held else Status.CANCELLED)
        if held:
            store.stopped(held)

    assert redis_client.keys("ccd:unit:*") == []


# ---------------------------------------------------------------------- datasets and users


def test_a_job_waits_until_its_dataset_has_succeeded(store):
    register(store)
    record = submit(store, waits_for="ds_1")
    assert (record.status, record.waits_for) == (Status.QUEUED, "ds_1")
    assert store.queue_position("job_1") == 1
    assert claim(store) is None
    rings = store.complete(claim(store, Lane.IO), output="x", done=1)

    assert rings == {Lane.METHOD: 3}
    assert claim(store).record.id == "job_1"


def test_a_job_on_a_dataset_that_has_succeeded_opens_at_once(store):
    register(store)
    store.complete(claim(store, Lane.IO), output="x", done=1)
    submit(store, waits_for="ds_1")

    assert claim(store).record.id == "job_1"


def test_a_job_fails_with_its_dataset_and_for_the_same_reason(store):
    register(store)
    submit(store, waits_for="ds_1")
    before = store.get("job_1")
    store.fail(claim(store, Lane.IO), BROKEN)
    after = store.get("job_1")
    late = submit(store, "job_2", waits_for="ds_1")

    assert (after.status, after.error) == (Status.FAILED, BROKEN)
    assert after.finished_at is not None
    assert after.version > before.version
    assert (late.status, late.error) == (Status.FAILED, BROKEN)
    assert store.queue_position("job_2") is None


def test_a_job_fails_when_its_dataset_is_cancelled(store):
    register(store)
    submit(store, waits_for="ds_1")
    store.cancel("ds_1")
    error = store.get("job_1").error

    assert (error.code, error.hint, error.retryable) == ("dataset_cancelled", None, False)
    assert "ds_1" in error.message


def test_a_dataset_that_does_not_exist_cannot_be_waited_for(store):
    with pytest.raises(RecordNotFound, match="ds_9"):
        submit(store, waits_for="ds_9")
    with pytest.raises(RecordNotFound, match="job_1"):
        store.get("job_1")


def test_a_waiting_job_can_be_cancelled(store):
    register(store)
    submit(store, waits_for="ds_1")

    assert store.cancel("job_1") is Status.CANCELLED
    assert store.complete(claim(store, Lane.IO), output="x", done=1) == {}
    assert store.get("job_1").status is Status.CANCELLED


def test_a_dataset_in_use_cannot_be_deleted(store):
    register(store)
    store.complete(claim(store, Lane.IO), output="x", done=1)
    submit(store, "job_1", CHECK, waits_for="ds_1")
    submit(store, "job_2", CHECK, waits_for="ds_1")
    with pytest.raises(DatasetInUse) as refused:
        store.delete("ds_1")
    assert refused.value.users == ("job_1", "job_2")
    store.complete(claim(store), output="", done=1)
    store.cancel("job_2")

    store.delete("ds_1")
    with pytest.raises(RecordNotFound):
        store.get("ds_1")


def test_a_record_that_has_not_ended_cannot_be_deleted(store):
    submit(store)

    with pytest.raises(IllegalMove, match="job_1 is queued; it cannot become deleted"):
        store.delete("job_1")


def test_a_deleted_record_leaves_no_key_behind(store, redis_client):
    register(store)
    store.complete(claim(store, Lane.IO), output="x", done=1)
    submit(store, phases=CHECK, waits_for="ds_1")
    store.complete(claim(store), output="", done=1)
    store.delete("job_1")
    store.delete("ds_1")

    assert redis_client.keys() == []


def is_created(store, id, dataset):
    try:
        submit(store, id, CHECK, waits_for=dataset)
    except RecordNotFound:
        return False
    return True


def is_deleted(store, id):
    try:
        store.delete(id)
    except DatasetInUse:
        return False
    return True


def test_a_dataset_is_either_deleted_or_used_by_a_job_that_comes_meanwhile(store):
    for n in range(100):
        job, dataset = f"job_{n}", f"ds_{n}"
        register(store, dataset)
        store.complete(claim(store, Lane.IO), output="x", done=1)
        created, deleted = at_once(
            lambda job=job, dataset=dataset: is_created(store, job, dataset),
            lambda dataset=dataset: is_deleted(store, dataset),
        )

        assert created != deleted


# ---------------------------------------------------------------------- progress


def test_progress_adds_up_over_units_that_run_side_by_side(store):
    submit(store)
    first, second = claim(store), claim(store)
    store.renew(first, done=10, total=40)
    store.renew(second, done=20, total=40, note={"loss": 0.5})
    progress = store.get("job_1").progress

    # (1/4 + 1/2) of three units; the third is taken to be as large as the two
    assert (progress.done, progress.total, progress.percent) == (30, 120, 25)
    assert (progress.phase_index, progress.phase_count) == (0, 1)
    assert progress.note == {"loss": 0.5}


def test_where_the_plan_tells_the_items_a_unit_need_not(store):
    submit(store, phases=[Phase("embed", Lane.METHOD, units=4, items=100)])
    store.renew(claim(store), done=5)
    progress = store.get("job_1").progress

    assert (progress.done, progress.total, progress.percent) == (5, 100, 5)


def test_percent_is_of_the_whole_record_by_the_weights_of_its_phases(store):
    submit(store, phases=CHECK)
    held = claim(store)
    store.renew(held, done=1, total=1)
    percents = [store.get("job_1").progress.percent]
    store.complete(held, output="", done=1, plan=[SHARDS, EPOCHS])  # weights 0, 1, 3
    percents.append(store.get("job_1").progress.percent)
    for _ in range(4):
        store.complete(claim(store), output="x", done=1)
        percents.append(store.get("job_1").progress.percent)

    # 1/3 and 2/3 of a quarter; a quarter; and half of three quarters
    assert percents == pytest.approx([0, 0, 8.33, 16.66, 25, 62.5])


def test_percent_does_not_fall_when_a_unit_is_lost(store):
    submit(store)
    held = claim(store)
    store.renew(held, done=30, total=40)
    before = store.get("job_1").progress
    lose(store, held)
    after = store.get("job_1").progress

    assert before.percent == after.percent == 25
    assert (before.done, after.done) == (30, 0)


def test_only_success_is_100_percent(store):
    submit(store, phases=[Phase("embed", Lane.METHOD)])
    held = claim(store)
    store.renew(held, done=40, total=40)
    assert store.get("job_1").progress.percent == 99.9
    store.complete(held, output="x", done=40)

    assert store.get("job_1").progress.percent == 100


def test_rate_and_remaining_time_need_a_while(store, redis_client):
    submit(store)
    held = claim(store)
    store.renew(held, done=20, total=40)
    early = store.get("job_1").progress
    earlier = int(redis_client.hget("ccd:record:job_1", "seen_ms")) - 10_000
    redis_client.hset("ccd:record:job_1", "seen_ms", earlier)
    store.renew(held, done=20, total=40)
    later = store.get("job_1").progress

    assert (early.rate_per_second, early.eta_seconds) == (None, None)
    assert later.rate_per_second == pytest.approx(2, rel=0.1)
    assert later.eta_seconds == pytest.approx(50, rel=0.1)  # 100 of 120 remain


def test_reused_units_do_not_count_towards_the_rate(store, redis_client):
    submit(store)
    store.complete(claim(store), output="x", done=1000, reused=True)
    held = claim(store)
    earlier = int(redis_client.hget("ccd:record:job_1", "seen_ms")) - 10_000
    redis_client.hset("ccd:record:job_1", "seen_ms", earlier)
    store.renew(held, done=20, total=1000)

    assert store.get("job_1").progress.done == 1020
    assert store.get("job_1").progress.rate_per_second == pytest.approx(2, rel=0.1)


def test_time_in_which_nobody_worked_does_not_count_towards_the_rate(redis_client):
    store = Store(redis_client, lease_seconds=4)
    submit(store)
    held = claim(store)
    redis_client.hset("ccd:record:job_1", "seen_ms", 0)  # a long outage of everything
    store.renew(held, done=20, total=40)

    assert store.get("job_1").progress.rate_per_second == pytest.approx(20 / 4)


# ---------------------------------------------------------------------- Redis


def test_scripts_that_redis_has_forgotten_are_sent_again(store, redis_client):
    submit(store)
    redis_client.script_flush()

    assert claim(store).record.id == "job_1"


def test_the_settings_reach_the_store(redis_url):
    settings = Settings(redis_url=redis_url, max_attempts=1, lease_seconds=2)
    with open_store(settings).redis as client:
        store = Store(client, max_attempts=settings.max_attempts)
        submit(store, phases=CHECK)

        assert lose(store, claim(store)) is Status.FAILED


def test_without_a_redis_there_is_no_store():
    with pytest.raises(ValueError, match="CCD_REDIS_URL is not set"):
        connect(Settings(redis_url=None))


def test_a_redis_that_is_away_is_an_error_of_redis(tmp_path):
    store = open_store(Settings(redis_url=f"unix://{tmp_path}/nobody.sock"))

    with pytest.raises(redis.ConnectionError):
        store.get("job_1")


def test_a_redis_that_does_not_answer_is_an_error_within_3_seconds():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = open_store(Settings(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}"))
        started = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            store.get("job_1")

    assert time.monotonic() - started < 3
