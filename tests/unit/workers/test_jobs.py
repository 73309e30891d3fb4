"""Moves, phases, ids."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.jobs import (
    MOVES,
    Lane,
    Phase,
    Status,
    new_id,
    rfc3339,
    split_unit_id,
    unit_id,
)

ALLOWED = {
    ("queued", "running"),
    ("queued", "failed"),
    ("queued", "cancelled"),
    ("running", "cancelling"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("cancelling", "cancelled"),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Status, Status)))
def test_a_move_is_allowed_exactly_where_the_table_says(before, after):
    assert (after in MOVES.get(before, ())) == ((before, after) in ALLOWED)


def test_three_statuses_are_final():
    assert {status for status in Status if status.is_final} == {"succeeded", "failed", "cancelled"}


def test_no_way_leads_from_cancelling_to_succeeded():
    reached, last = {Status.CANCELLING}, set()
    while reached != last:
        last = set(reached)
        reached |= {after for before in last for after in MOVES.get(before, ())}

    assert reached == {Status.CANCELLING, Status.CANCELLED}


@pytest.mark.parametrize("field", [{"units": 0}, {"weight": -1}])
def test_a_phase_without_units_or_with_negative_weight_is_refused(field):
    with pytest.raises(ValueError, match="phase embed needs"):
        Phase("embed", Lane.METHOD, **field)


def test_ids_are_prefixed_and_all_different():
    ids = [new_id("job") for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"job_[0-9a-hjkmnp-tv-z]{22}", id) for id in ids)


def test_ids_of_later_milliseconds_sort_behind(monkeypatch):
    times = iter([1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_032, 1_800_000_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(times) * 1_000_000)

    ids = [new_id("job") for _ in range(4)]

    assert ids == sorted(ids)


@given(st.lists(st.integers(0, 999_999), min_size=2, max_size=2))
def test_units_sort_by_number(numbers):
    low, high = sorted(numbers)

    assert unit_id("job_1", "embed", low) <= unit_id("job_1", "embed", high)
    assert split_unit_id(unit_id("job_1", "warm_up", low)) == ("job_1", "warm_up", low)


def test_times_are_rfc_3339_in_utc():
    # 2026-11-23 is 20,780 days after 1970: 56 * 365 + 14 leap days + 326
    assert rfc3339(20_780 * 86_400_000 + 1) == "2026-11-23T00:00:00.001Z"
