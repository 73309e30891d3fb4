"""A call to the store whose answer is lost, wherever a worker makes it: no unit pays for it."""

import pytest
import redis

from tests.faults.loose_store import LooseStore
from tests.store_calls import CHECK, submit, worker_of
from workers import phases
from workers.files import DataFolder
from workers.jobs import JobError, Lane, Status
from workers.outcomes import write_end
from workers.settings import Settings
from workers.stats import read_stats
from workers.units import Finished


class Forgetful(LooseStore):
    """Each of its calls is answered at the second time of asking; the first may take effect."""

    def __init__(self, client, breaks):
        super().__init__(client)
        self.how, self.asked = breaks, {}

    def _run(self, script, *args):
        self.asked[script] = self.asked.get(script, 0) + 1
        self.breaks = self.how if self.asked[script] == 1 and script in TOLD else None
        return super()._run(script, *args)

    def outputs(self, id):
        self.asked["outputs"] = self.asked.get("outputs", 0) + 1
        if self.asked["outputs"] == 1:
            raise redis.TimeoutError("the line is silent")
        return super().outputs(id)


#: What a worker asks of the store about a unit, beside its outputs.
TOLD = ("claim", "complete", "fail", "give_back")


@pytest.fixture
def settings(tmp_path):
    return Settings(data=tmp_path, heartbeat_seconds=30, lease_seconds=60)


@pytest.fixture(params=["before", "after"])
def store(request, redis_client):
    store = Forgetful(redis_client, request.param)
    store.set_clock(1_800_000_000)
    submit(store, phases=CHECK)
    return store


@pytest.fixture
def work(monkeypatch, store, settings):
    """Let a worker do what there is to do; `run_unit` is what it does with a unit."""

    def work(run_unit, lane=Lane.METHOD):
        monkeypatch.setattr(phases, "run_unit", run_unit)
        monkeypatch.setattr("workers.worker.RETRY_SECONDS", 0.01)
        worker_of(store, settings, lane).run_until_empty()

    return work


def succeed(*_, **__):
    return Finished("", 1)


def break_down(*_, **__):
    raise RuntimeError("a mistake of ours")


def test_a_unit_is_done_once_all_the_same(store, work):
    work(succeed)

    assert store.asked["claim"] >= 2
    assert store.get("job_1").status is Status.SUCCEEDED
    assert read_stats(store).attempts == {("check", "done"): 1}


def test_a_failure_is_told_once_all_the_same(store, work):
    work(break_down)

    record = store.get("job_1")
    assert (record.status, record.error.code) == (Status.FAILED, "internal_error")
    assert read_stats(store).attempts == {("check", "failed"): 1}


@pytest.mark.parametrize(
    ("status", "error"),
    [(Status.CANCELLED, None), (Status.FAILED, JobError("broken", "check", "It broke."))],
)
def test_an_end_that_redis_forgot_stands(store, work, settings, status, error):
    write_end(DataFolder(settings.data), store.get("job_1"), {}, status=status, error=error)

    work(break_down)

    record = store.get("job_1")
    assert (record.status, record.error) == (status, error)


@pytest.mark.parametrize("end", [succeed, break_down])
def test_a_cancel_that_redis_forgot_while_a_unit_ran_stands(store, work, settings, end):
    """The disk has it, and another host's worker has its unit still."""

    def forget_and(*_, **__):
        record = store.get("job_1")
        write_end(DataFolder(settings.data), record, {}, status=Status.CANCELLED)
        return end()

    work(forget_and)

    assert store.get("job_1").status is Status.CANCELLED
    assert store.live_nonces() == set()


def test_a_job_whose_deletion_redis_forgot_is_not_begun(store, work, settings):
    mark = DataFolder(settings.data).deletion("job_1")
    mark.parent.mkdir()
    mark.touch()

    work(succeed)

    assert store.get("job_1").status is Status.CANCELLED
    assert "complete" not in store.asked
