"""Places in the queue, and when what stands there will be started."""

import random
from dataclasses import replace

import pytest

from tests.store_calls import STANDING
from workers.forecast import images_per_second
from workers.turns import Queue, Turn


def turn(submitter, **more):
    """Three records of 100 images each that could be started, and nothing that was."""
    fields = {"tag": 0, "weight": 1, "pending": 3, "asked": 300, "left": 300}
    return Turn(submitter=submitter, **{**fields, **more})


def queue(*turns):
    ranks = {f"{one.submitter}{n}": (one.submitter, n) for one in turns for n in range(one.pending)}
    return Queue(0, {one.submitter: one for one in turns}, ranks)


def order(*turns):
    found = queue(*turns)
    return sorted(found.ranks, key=found.position)


def test_of_one_submitter_the_rank_is_the_place():
    found = queue(turn("ann"))

    assert [found.position(f"ann{n}") for n in range(3)] == [1, 2, 3]
    assert [found.images_before(f"ann{n}") for n in range(3)] == [0, 100, 200]


def test_equal_shares_take_turns():
    assert order(turn("ann"), turn("bob")) == ["ann0", "bob0", "ann1", "bob1", "ann2", "bob2"]


def test_who_has_weight_2_starts_twice_as_many():
    # Ann's start at 0, 50 and 100, Bob's at 0, 100 and 200; a tie goes by name.
    assert order(turn("ann", weight=2), turn("bob"))[:4] == ["ann0", "bob0", "ann1", "ann2"]


def test_small_records_come_before_large_ones():
    small = turn("bob", asked=30, left=30)

    # Bob's start at 0, 10 and 20, Ann's second one at 100.
    assert order(turn("ann"), small) == ["ann0", "bob0", "bob1", "bob2", "ann1", "ann2"]


def test_work_that_was_begun_comes_before_what_was_not():
    begun = turn("ann", left=1000)  # 700 of those that were started

    assert order(begun, turn("bob")) == ["bob0", "bob1", "bob2", "ann0", "ann1", "ann2"]
    assert queue(begun, turn("bob")).images_before("ann0") == 700 + 300
    assert queue(begun, turn("bob")).images_before("bob1") == 100 + 100


def test_a_tag_ahead_of_the_others_waits_for_them():
    late = turn("ann", tag=150)

    assert order(late, turn("bob")) == ["bob0", "bob1", "ann0", "bob2", "ann1", "ann2"]
    assert queue(late, turn("bob")).images_before("ann0") == 150


def test_work_of_unknown_size_counts_as_one_image_each():
    unknown = turn("ann", asked=0, left=0)

    assert [queue(unknown).images_before(f"ann{n}") for n in range(3)] == [0, 1, 2]


def test_what_is_not_in_line_has_no_place():
    assert queue(turn("ann")).position("job_9") is None
    assert queue(turn("ann")).images_before("job_9") is None


def test_a_submitter_with_nothing_in_line_still_has_work_ahead():
    busy = turn("ann", pending=0, asked=0, left=50)

    assert queue(busy, turn("bob")).position("bob1") == 2
    assert queue(busy, turn("bob")).images_before("bob1") == 100 + 50


# ---------------------------------------------------------------------- many at once


def crowd(seed, submitters, most):
    """Submitters who have up to `most` records each in line."""
    pick = random.Random(seed)
    turns = []
    for n in range(submitters):
        pending = pick.randint(1, most)
        asked = pending * pick.choice([0, 1, 30, 600])
        weight, tag = pick.choice([0.25, 1, 3]), pick.randint(0, 1000)
        left = asked + pick.choice([0, 500])
        turns.append(turn(f"u{n}", tag=tag, weight=weight, pending=pending, asked=asked, left=left))
    return queue(*turns)


@pytest.mark.parametrize("seed", range(5))
def test_all_positions_at_once_are_those_of_each(seed):
    found = crowd(seed, submitters=30, most=5)

    assert found.positions() == {id: found.position(id) for id in found.ranks}
    assert sorted(found.positions().values()) == list(range(1, len(found.ranks) + 1))


@pytest.mark.parametrize("seed", range(5))
def test_the_work_before_a_record_is_the_sum_over_submitters(seed):
    found = crowd(seed, submitters=30, most=5)
    for id, (submitter, rank) in found.ranks.items():
        time = found.turns[submitter].starts_at(rank)
        before = sum(
            min(one.started + one.pending * one.size, max(0, (time - one.tag) * one.weight))
            for one in found.turns.values()
        )

        assert found.images_before(id) == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize(("submitters", "most", "asked"), [(1000, 1, 1000), (3, 1000, 100)])
def test_a_page_costs_no_more_than_the_line_or_its_records(monkeypatch, submitters, most, asked):
    found = crowd(0, submitters, most)
    few = replace(found, ranks=dict(list(found.ranks.items())[:asked]))
    looks = []
    starts_at, before = Turn.starts_at, Turn.records_before
    monkeypatch.setattr(Turn, "starts_at", lambda *a: looks.append(1) or starts_at(*a))
    monkeypatch.setattr(Turn, "records_before", lambda *a, **k: looks.append(1) or before(*a, **k))
    assert len(few.positions()) == asked

    assert len(looks) <= min(len(found.ranks), asked * submitters)


# ---------------------------------------------------------------------- how fast


def worker(rate):
    return replace(STANDING, images_per_second=rate)


@pytest.mark.parametrize(
    ("workers", "rate"),
    [
        ([], None),
        ([worker(None)], None),
        ([worker(4.0)], 4),
        ([worker(4.0), worker(2.0)], 6),
        ([worker(4.0), worker(2.0), worker(None)], 9),  # as the mean of the others
    ],
)
def test_the_rate_is_that_of_all_workers_together(workers, rate):
    assert images_per_second(workers) == rate
