"""Whose unit a claim takes: shares of submitters, priorities, and what has come back."""

import random
from collections import Counter

import pytest

from tests.store_calls import BROKEN, CHECK, claim, lose, submit
from workers.jobs import DEFAULT_PROJECT, Kind, Lane, Phase, Priority, new_id
from workers.outcomes import Kept
from workers.store import Store

DAY_MS = 24 * 3600 * 1000


def embed(units, images):
    """A phase of `units` units of `images` images each."""
    return [Phase("embed", Lane.METHOD, units=units, items=units * images)]


def train(epochs, images):
    return [Phase("train", Lane.METHOD, units=epochs, sequential=True, items=epochs * images)]


def done(store, held, **more):
    return store.complete(held, output="x", done=1, **more)


def order_of(store, count):
    """Who had the next claims, each of them done before the next."""
    found = []
    for _ in range(count):
        held = claim(store)
        found.append(held.record.submitter)
        done(store, held)
    return found


# ---------------------------------------------------------------------- shares


def test_a_million_images_do_not_starve_a_thousand(store):
    submit(store, "job_big", embed(1000, 1000), submitter="ann")
    assert order_of(store, 3) == ["ann"] * 3
    submit(store, "job_small", embed(4, 250), submitter="bob")

    assert order_of(store, 6) == ["bob", "bob", "bob", "bob", "ann", "ann"]


def test_the_epochs_of_a_small_job_do_not_wait_for_as_many_of_a_large_one(store):
    submit(store, "job_big", train(20, 1000), submitter="ann")
    submit(store, "job_small", train(20, 50), submitter="bob")

    assert order_of(store, 22) == ["ann", *["bob"] * 20, "ann"]


def test_weights_divide_what_is_done(redis_client):
    store = Store(redis_client, shares={"ann": 3, "bob": 0.5})
    for who in ("ann", "bob", "cy"):
        submit(store, f"job_{who}", embed(200, 10), submitter=who)

    assert Counter(order_of(store, 90)) == {"ann": 60, "cy": 20, "bob": 10}


@pytest.mark.parametrize("seed", range(6))
def test_between_two_that_wait_the_shares_differ_by_one_unit_each_at_most(redis_client, seed):
    """Over any window, whatever ends how, and whoever else comes and goes."""
    pick = random.Random(seed)
    shares = {"ann": 1, "bob": pick.choice([1, 2, 3])}
    store = Store(redis_client, backoff_seconds=(0,), max_attempts=100, shares=shares)
    largest = {who: 10 ** pick.randint(0, 3) for who in shares}
    for who in shares:  # more than will be claimed
        for _ in range(20):
            phases = embed(20, pick.randint(1, largest[who]))
            submit(store, new_id("job"), phases, submitter=who)
    service, ahead, seen, held = Counter(), [], set(), []
    for _ in range(250):
        if pick.random() < 0.2:
            who = pick.choice(["cy", "di"])
            submit(store, new_id("job"), embed(pick.randint(1, 3), 100), submitter=who)
        got = claim(store)
        if got.unit_id not in seen and got.record.submitter in shares:
            phase = got.record.phases[0]
            service[got.record.submitter] += phase.items // phase.units
        seen.add(got.unit_id)
        ahead.append(service["ann"] / shares["ann"] - service["bob"] / shares["bob"])
        held.append(got)
        while held and pick.random() < 0.6:
            one = held.pop(pick.randrange(len(held)))
            end = pick.choice([done, done, lose, lambda store, one: store.give_back(one)])
            end(store, one)

    assert min(service.values()) > 0
    assert max(ahead) - min(ahead) <= sum(largest[who] / shares[who] for who in shares)


def test_who_was_away_has_neither_credit_nor_debt(store):
    submit(store, "job_ann", embed(100, 10), submitter="ann")
    order_of(store, 50)
    for id in ("job_first", "job_again"):
        submit(store, id, embed(10, 10), submitter="bob")
        assert Counter(order_of(store, 10)) == {"ann": 5, "bob": 5}
        assert Counter(order_of(store, 10)) == {"ann": 5, "bob": 5}
        assert order_of(store, 5) == ["ann"] * 5


def test_priority_takes_nothing_from_others(store):
    for n in range(5):
        submit(store, f"job_high{n}", embed(1, 10), submitter="ann", priority=Priority.HIGH)
        submit(store, f"job_low{n}", embed(1, 10), submitter="bob", priority=Priority.LOW)

    assert order_of(store, 10) == ["ann", "bob"] * 5


def test_names_that_are_made_up_fill_no_memory(store, redis_client):
    submit(store, "job_ann", embed(1, 10), submitter="ann")
    for n in range(1100):
        submit(store, f"job_{n}", CHECK, submitter=f"made-up-{n}")
    for _ in range(1101):
        claim(store)

    assert redis_client.zcard("ccd:rested:method") <= 1000
    assert redis_client.zcard("ccd:turns:method") == 0


def test_a_lane_at_rest_remembers_nobody(store, redis_client):
    for who in ("ann", "bob"):
        submit(store, f"job_{who}", train(2, 10), submitter=who)
    order_of(store, 4)

    assert redis_client.keys("ccd:*:method*") == []


# ---------------------------------------------------------------------- what a unit costs


def test_a_unit_of_unknown_size_is_charged_when_it_is_done(store):
    register = [Phase("register", Lane.METHOD)]
    for n in range(2):
        submit(store, f"job_ann{n}", register, submitter="ann")
    submit(store, "job_bob", embed(30, 10), submitter="bob")
    held = claim(store)
    store.complete(held, output="x", done=95)

    assert held.record.submitter == "ann"
    assert order_of(store, 11) == ["bob"] * 10 + ["ann"]


def test_units_of_unknown_size_cost_1_each_while_they_are_in_hand_and_when_they_fail(store):
    for n in range(5):
        submit(store, f"job_ann{n}", [Phase("register", Lane.METHOD)], submitter="ann")
    submit(store, "job_bob", embed(30, 10), submitter="bob")
    held = [claim(store) for _ in range(6)]
    assert [one.record.submitter for one in held] == ["ann", "bob", "ann", "ann", "ann", "ann"]

    for one in held:
        if one.record.submitter == "ann":
            store.fail(one, BROKEN)
    submit(store, "job_ann", embed(30, 5), submitter="ann")
    # Ann has paid 5 and begins there, Bob 10.
    assert order_of(store, 3) == ["ann", "ann", "bob"]


def test_what_lay_on_disk_already_costs_next_to_nothing(store):
    submit(store, "job_ann", embed(40, 1000), submitter="ann")
    submit(store, "job_bob", embed(40, 10), submitter="bob")
    for _ in range(4):
        held = claim(store)
        done(store, held, reused=held.record.submitter == "ann")

    # Bob has had 10 or 20 images; Ann's 1000 count as 1 each.
    assert order_of(store, 1) == ["ann"]


# ---------------------------------------------------------------------- priority and age


def restore(store, id, *, created_ms, priority=Priority.NORMAL, submitter="ann"):
    """A record of a chosen age."""
    kept = Kept(
        kind=Kind.JOB,
        id=id,
        request={},
        phases=tuple(CHECK),
        priority=priority,
        submitter=submitter,
        project=DEFAULT_PROJECT,
        passes=0,
        waits_for=None,
        request_id=None,
        created_ms=created_ms,
        ending=None,
    )
    store.restore(kept)


@pytest.mark.parametrize(
    ("priority", "days"), [(Priority.LOW, 2), (Priority.NORMAL, 1), (Priority.HIGH, 0)]
)
def test_a_job_goes_before_high_ones_that_come_a_day_later_for_each_step(store, priority, days):
    created_ms = 1_700_000_000_000
    restore(store, "job_b", created_ms=created_ms, priority=priority)
    for id, later in (("job_a", -1), ("job_c", 1)):
        high_ms = created_ms + days * DAY_MS + later
        restore(store, id, created_ms=high_ms, priority=Priority.HIGH)

    assert [claim(store).record.id for _ in range(3)] == ["job_a", "job_b", "job_c"]


def test_a_low_job_is_reached_under_a_stream_of_high_ones(redis_client):
    store = Store(redis_client, ageing_seconds=0.05)
    submit(store, "job_low", CHECK, priority=Priority.LOW)
    waited = 0
    while True:
        submit(store, f"job_high{waited}", CHECK, priority=Priority.HIGH)
        got = claim(store)
        if got.record.id == "job_low":
            break
        waited += 1

    low, last = (
        int(redis_client.hget(f"ccd:record:{id}", "created_ms"))
        for id in ("job_low", f"job_high{waited}")
    )
    assert last - low >= 100  # two steps
    assert waited > 0


# ---------------------------------------------------------------------- what comes back


def ends_badly(store, held):
    store.fail(held, BROKEN)


@pytest.mark.parametrize("back", [lambda store, held: store.give_back(held), lose])
def test_a_unit_that_comes_back_goes_first_and_is_charged_once(store, back):
    for who in ("ann", "bob"):
        submit(store, f"job_{who}", embed(10, 10), submitter=who)
    first = claim(store)
    assert first.record.submitter == "ann"
    back(store, first)

    again = claim(store)
    assert again.unit_id == first.unit_id
    done(store, again)
    assert order_of(store, 4) == ["bob", "ann", "bob", "ann"]


def test_units_come_back_in_their_order(store):
    submit(store, "job_normal", embed(2, 10))
    submit(store, "job_high", embed(2, 10), priority=Priority.HIGH)
    held = [claim(store) for _ in range(4)]
    for one in held[::-1]:
        store.give_back(one)

    assert [claim(store).unit_id for _ in range(4)] == [one.unit_id for one in held]


def test_what_was_cancelled_before_its_turn_is_not_charged(store):
    submit(store, "job_ann", embed(10, 10), submitter="ann")
    submit(store, "job_gone", embed(1, 1_000_000), submitter="bob")
    submit(store, "job_bob", embed(10, 10), submitter="bob")
    store.cancel("job_gone")

    assert order_of(store, 4) == ["ann", "bob", "ann", "bob"]


def test_older_workers_look_past_submitters_whose_jobs_are_newer(redis_client):
    old, new = Store(redis_client, method=1), Store(redis_client, method=2)
    for n in range(8):
        submit(new, f"job_new{n}", embed(5, 10), submitter=f"new-{n}")
    submit(old, "job_old", embed(2, 10), submitter="old")

    assert [claim(old).record.id for _ in range(2)] == ["job_old"] * 2
    assert claim(old) is None
    assert claim(new).record.submitter == "new-0"


# ---------------------------------------------------------------------- places


@pytest.mark.parametrize("seed", range(4))
def test_positions_are_the_order_in_which_records_are_started(redis_client, seed):
    pick = random.Random(seed)
    weights = {who: pick.choice([0.25, 1, 2, 4]) for who in ("ann", "bob", "cy", "di")}
    store = Store(redis_client, shares=weights)
    for _ in range(10):  # so that they begin apart
        submit(store, new_id("job"), CHECK, submitter=pick.choice(list(weights)))
    for _ in range(pick.randint(0, 9)):
        claim(store)
    for _ in range(40):
        priority = pick.choice(list(Priority))
        submitter = pick.choice(list(weights))
        submit(store, new_id("job"), CHECK, submitter=submitter, priority=priority)
    ids = [record.id for record in store.list(Kind.JOB)[0]]
    queue = store.queue(Lane.METHOD, ids)
    places = {queue.position(id): id for id in queue.ranks}

    assert sorted(places) == list(range(1, len(queue.ranks) + 1))
    assert [claim(store).record.id for _ in places] == [places[n] for n in sorted(places)]
