"""A Redis without room takes nothing new, but what makes room."""

import pytest
import redis

from tests.store_calls import claim, register, submit
from tests.valkeys import valkey
from workers.jobs import Lane, Status
from workers.settings import Settings
from workers.store import RecordNotFound, Store, connect


@pytest.fixture
def store():
    with valkey() as url, connect(Settings(redis_url=url)) as client:
        yield Store(client)


@pytest.fixture
def full(store):
    """The store, with two datasets, a job that waits and one at work."""
    for id in ("ds_1", "ds_2"):
        register(store, id)
        store.complete(claim(store, Lane.IO), output="d", done=1)
    submit(store, "job_1", waits_for="ds_1")
    assert claim(store).record.id == "job_1"
    submit(store, "job_2", waits_for="ds_1")
    store.redis.config_set("maxmemory", 1)
    return store


def test_new_work_is_refused_and_leaves_nothing(full):
    with pytest.raises(redis.OutOfMemoryError):
        submit(full, "job_3")

    with pytest.raises(RecordNotFound):
        full.get("job_3")
    assert full.get("job_2").status is Status.QUEUED
    assert full.redis.info("stats")["evicted_keys"] == 0


def test_a_cancel_and_a_deletion_make_room(full):
    assert full.cancel("job_2") is Status.CANCELLED
    assert full.cancel("job_1") is Status.CANCELLING

    full.delete("job_2")

    with pytest.raises(RecordNotFound):
        full.get("job_2")


def test_a_dataset_can_be_deleted_too(full):
    full.delete("ds_2")

    with pytest.raises(RecordNotFound):
        full.get("ds_2")
