"""Records of the job store: made, read, listed; and a Redis that is away."""

import itertools
import socket
import time

import pytest
import redis

from tests.store_calls import CHECK, EPOCHS, SHARDS, claim, lose, register, submit
from workers.cursors import BadCursor
from workers.jobs import MOVES, Kind, Lane, Phase, Status
from workers.lua import moves_by_target
from workers.settings import Settings
from workers.store import (
    RecordNotFound,
    Renewal,
    Store,
    connect,
    open_store,
)

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
    pairs = {(before, to) for to, froms in moves_by_target().items() for before in froms}

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
