"""If-None-Match, Range, Accept and Prefer, as clients spell them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.conditional import best_type, byte_range, is_unchanged, matches, wait_seconds
from app.errors import Problem

OFFERED = ["application/json", "application/x-ndjson", "text/csv"]


@pytest.mark.parametrize(
    ("header", "is_same"),
    [
        (None, False),
        ("", False),
        ('"7"', True),
        ('W/"7"', True),
        ('"6", "7"', True),
        ("*", True),
        ('"77"', False),
        ("7", False),
    ],
)
def test_a_tag_is_known_if_it_is_in_the_list(header, is_same):
    assert is_unchanged(header, '"7"') is is_same


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("text/*", "text/csv"),
        ("application/x-ndjson, application/json;q=0.5", "application/x-ndjson"),
        ("text/csv;q=0.2, application/json;q=0.9", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/json;q=0, */*", "application/x-ndjson"),
        ("image/png", "application/json"),
        (";;,,q=", "application/json"),
    ],
)
def test_the_type_that_the_client_likes_most_is_sent(accept, best):
    assert best_type(accept, OFFERED) == best


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ("Wait = 7", 7),
        ("wait=100000", 60),
        ("wait=-1", 0),
        ("wait=soon", 0),
    ],
)
def test_a_wait_is_read_and_capped(prefer, seconds):
    assert wait_seconds(prefer) == seconds


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_lies_in_the_file_or_is_refused(size, first, last):
    header = f"bytes={first}-{last}"
    if first < size and first <= last:
        part = byte_range(header, None, etag='"x"', size=size)
        assert part == range(first, min(last + 1, size))
    else:
        with pytest.raises(Problem):
            byte_range(header, None, etag='"x"', size=size)


def test_no_range_fits_an_empty_file():
    with pytest.raises(Problem, match="0 bytes"):
        byte_range("bytes=-5", None, etag='"x"', size=0)


@pytest.mark.parametrize(
    ("if_match", "may"),
    [('"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ('W/"a"', False), ("", False)],
)
def test_a_change_needs_the_very_version_that_it_names(if_match, may):
    assert matches(if_match, '"a"') is may
