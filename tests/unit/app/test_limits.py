"""Token buckets: how many calls at once, how many for long."""

from app import limits
from app.limits import Buckets


def make(rate=2.0, size=4):
    now = [100.0]
    return Buckets(rate, size, clock=lambda: now[0]), now


def test_a_full_bucket_gives_its_size_at_once_and_then_none():
    buckets, _ = make()

    assert [buckets.take("a").is_allowed for _ in range(6)] == [True] * 4 + [False] * 2


def test_it_fills_at_its_rate_and_no_further_than_its_size():
    buckets, now = make()
    for _ in range(4):
        buckets.take("a")

    now[0] += 1  # 2 a second
    assert [buckets.take("a").is_allowed for _ in range(3)] == [True, True, False]
    now[0] += 1000
    assert [buckets.take("a").is_allowed for _ in range(5)] == [True] * 4 + [False]


def test_each_name_has_its_own():
    buckets, _ = make(size=1)

    assert [buckets.take(name).is_allowed for name in "aba"] == [True, True, False]


def test_what_is_left_and_when_there_is_more_is_told():
    buckets, _ = make(rate=0.5, size=2)

    first, _, none = [buckets.take("a") for _ in range(3)]

    assert buckets.headers(first) == {
        "RateLimit-Policy": '"requests";q=2;w=4',
        "RateLimit": '"requests";r=1;t=2',
    }
    assert (none.remaining, none.reset_seconds, none.retry_seconds) == (0, 4, 2)


def test_a_crowd_of_names_takes_no_more_room_than_it_may(monkeypatch):
    monkeypatch.setattr(limits, "MAX_REMEMBERED", 3)
    buckets, _ = make(size=1)

    for n in range(10):
        buckets.take(str(n))

    assert len(buckets._levels) == 3
