"""The text that Prometheus reads, and the counts of requests behind it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exposition import Family, Histogram, render
from app.request_times import BOUNDS, RequestTimes
from tests.expositions import read, value

SECONDS = st.lists(st.floats(0, 100), min_size=1, max_size=30)


def test_families_are_written_as_the_format_says():
    queue = Family("ccd_queue_units", "gauge", "Units\nthat \\ wait.")
    queue.add(3, lane="io")
    queue.add(0.25, lane='m"e\\t\nhod')
    bare = Family("ccd_images_total", "counter", "Images.")
    bare.add(1e15)
    spread = Histogram("ccd_phase_seconds", "Time.")
    spread.add({1.0: 2, 2.5: 2, math.inf: 3}, 7.5, phase="embed")
    empty = Family("ccd_gpus", "gauge", "None.")

    assert render([queue, bare, spread, empty]) == (
        "# HELP ccd_queue_units Units\\nthat \\\\ wait.\n"
        "# TYPE ccd_queue_units gauge\n"
        'ccd_queue_units{lane="io"} 3\n'
        'ccd_queue_units{lane="m\\"e\\\\t\\nhod"} 0.25\n'
        "# HELP ccd_images_total Images.\n"
        "# TYPE ccd_images_total counter\n"
        "ccd_images_total 1000000000000000\n"
        "# HELP ccd_phase_seconds Time.\n"
        "# TYPE ccd_phase_seconds histogram\n"
        'ccd_phase_seconds_bucket{phase="embed",le="1"} 2\n'
        'ccd_phase_seconds_bucket{phase="embed",le="2.5"} 2\n'
        'ccd_phase_seconds_bucket{phase="embed",le="+Inf"} 3\n'
        'ccd_phase_seconds_sum{phase="embed"} 7.5\n'
        'ccd_phase_seconds_count{phase="embed"} 3\n'
        "# HELP ccd_gpus None.\n"
        "# TYPE ccd_gpus gauge\n"
    )


@given(text=st.text(max_size=20), number=st.floats(allow_nan=False))
def test_whatever_a_label_and_a_value_are_they_come_back(text, number):
    family = Family("ccd_any", "gauge", text)
    family.add(number, of=text)

    assert value(read(render([family])), "ccd_any", of=text) == number


@pytest.mark.parametrize("name", ["", "1st", "ccd-units", "ccd_ü"])
def test_a_name_that_the_format_does_not_know_is_our_mistake(name):
    with pytest.raises(AssertionError):
        render([Family(name, "gauge", "Units.")])


def test_a_request_falls_into_the_first_bucket_that_holds_it():
    times = RequestTimes()
    for seconds in (0.005, 0.006, 3600):
        times.observe("GET", "/v1/jobs", 200, seconds)
    times.observe("GET", "/v1/jobs", 503, 0.0)

    [(call, (counts, total))] = times.durations().items()
    assert call == ("GET", "/v1/jobs")
    assert (counts[0.005], counts[0.01], counts[60.0], counts[math.inf]) == (2, 3, 3, 4)
    assert total == pytest.approx(3600.011)
    assert times.statuses() == {("GET", "/v1/jobs", 200): 3, ("GET", "/v1/jobs", 503): 1}


@given(SECONDS)
def test_buckets_hold_what_lies_at_or_under_their_bound(observed):
    times = RequestTimes()
    for seconds in observed:
        times.observe("GET", "/", 200, seconds)

    counts, total = times.durations()["GET", "/"]
    assert counts == {bound: sum(one <= bound for one in observed) for bound in BOUNDS}
    assert total == pytest.approx(sum(observed))
