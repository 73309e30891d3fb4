"""Progress of records in the job store."""

import pytest

from tests.store_calls import CHECK, EPOCHS, SHARDS, claim, lose, submit
from workers.jobs import Lane, Phase
from workers.store import Store


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


def test_a_total_that_nobody_knows_yet_is_0(store):
    submit(store, phases=[Phase("register", Lane.METHOD)])
    held = claim(store)
    store.renew(held, done=5)
    counting = store.get("job_1").progress
    store.renew(held, done=5, total=20)
    counted = store.get("job_1").progress

    assert (counting.done, counting.total, counting.percent) == (5, 0, 0)
    assert (counted.done, counted.total, counted.percent) == (5, 20, 25)


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
