"""Places in the queue, and when what stands there will be started."""

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
