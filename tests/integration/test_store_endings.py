"""How records end: cancelled, with what they wait for, deleted."""

import pytest

from tests.serving import wait_until
from tests.store_calls import BROKEN, CHECK, at_once, claim, lose, position, register, submit
from workers.jobs import Kind, Lane, Phase, Status
from workers.store import DatasetInUse, IllegalMove, RecordNotFound, Renewal, Store

#: Sums over all records, and the names of the projects that had any.
OF_ALL_RECORDS = {"ccd:stats", "ccd:projects"}

# ---------------------------------------------------------------------- cancel


def test_a_queued_record_is_cancelled_at_once(store):
    submit(store)

    assert store.cancel("job_1") is Status.CANCELLED
    assert claim(store) is None
    assert position(store, "job_1") is None


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
    assert position(store, "job_1") is None
    assert claim(store) is None
    rings = store.complete(claim(store, Lane.IO), output="x", done=1)

    assert rings == {Lane.METHOD: 3}
    assert position(store, "job_1") == 1
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
    assert position(store, "job_2") is None


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

    assert set(redis_client.keys()) == OF_ALL_RECORDS | {"ccd:usage:default"}


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


# ---------------------------------------------------------------------- passing


def passing(store, id="cam_1", keep_seconds=60):
    return store.create(
        Kind.CAM, id, request={}, phases=[Phase("cam", Lane.IO)], keep_seconds=keep_seconds
    )


def end_well(store):
    store.complete(claim(store, Lane.IO), output="cam-1", done=1)


def end_badly(store):
    store.fail(claim(store, Lane.IO), BROKEN)


@pytest.mark.parametrize("end", [end_well, end_badly], ids=["succeeded", "failed"])
def test_passing_work_is_listed_until_it_ends_and_readable_a_while_longer(store, end):
    passing(store)
    before = store.count(Kind.CAM)

    end(store)

    assert (before, store.count(Kind.CAM)) == (1, 0)
    assert store.list(Kind.CAM) == ([], None)
    assert store.get("cam_1").status.is_final


def test_passing_work_that_was_lost_leaves_the_list_too(redis_client):
    store = Store(redis_client, max_attempts=1, backoff_seconds=(0,))
    passing(store)
    assert lose(store, claim(store, Lane.IO)) is Status.FAILED

    assert store.count(Kind.CAM) == 0
    assert 0 < store.redis.ttl("ccd:record:cam_1") <= 60


def test_redis_holds_nothing_of_passing_work_when_its_time_is_over(store):
    before = {*store.redis.keys("*")} | OF_ALL_RECORDS
    for i in range(20):
        passing(store, f"cam_{i}", keep_seconds=0.05)
        end_well(store)

    wait_until(lambda: set(store.redis.keys("*")) == before)

    with pytest.raises(RecordNotFound):
        store.get("cam_0")


def test_the_same_passing_work_asked_for_twice_is_one_unit(store):
    at_once(*[lambda: passing(store)] * 8)

    assert store.waiting(Lane.IO) == store.count(Kind.CAM) == 1
