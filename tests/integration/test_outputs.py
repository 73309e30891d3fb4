"""A unit asks for the names of other units' outputs as it wants them, also of a slow Redis."""

import redis

from tests.store_calls import SHARDS, claim, submit, worker_of
from workers import phases
from workers.jobs import Lane, Phase, Status
from workers.outputs import StoredOutputs
from workers.settings import Settings
from workers.units import Finished

TWO = (Phase("embed", Lane.METHOD, units=2), Phase("debias", Lane.METHOD))


def ask(call):
    return call()


def two_done(store):
    """A record with two outputs."""
    submit(store, phases=(SHARDS,))
    for number in range(2):
        store.complete(claim(store), output=f"embed-{number}", done=1)


def test_one_name_is_asked_for_alone(store, monkeypatch):
    two_done(store)
    monkeypatch.delattr(type(store), "outputs")

    assert StoredOutputs(store, "job_1", ask)["embed", 1] == "embed-1"


def test_a_unit_that_is_not_done_has_none(store):
    two_done(store)
    outputs = StoredOutputs(store, "job_1", ask)

    assert ("embed", 0) in outputs
    assert ("embed", 2) not in outputs
    assert ("debias", 0) not in outputs


def test_whoever_goes_through_them_gets_all_with_one_call(store, monkeypatch):
    two_done(store)
    monkeypatch.delattr(type(store), "output")
    outputs = StoredOutputs(store, "job_1", ask)

    assert dict(outputs.items()) == {("embed", 0): "embed-0", ("embed", 1): "embed-1"}
    assert len(outputs) == 2
    assert ("embed", 2) not in outputs


class Away:
    """A worker whose Redis does not answer, so many times, when its last unit asks for a name."""

    def __init__(self, store, monkeypatch, data, *, times, drains=False):
        self.store, self.times, self.drains = store, times, drains
        self.seen, self._output, self._is_draining = [], store.output, False
        monkeypatch.setattr(store, "output", self.output)
        monkeypatch.setattr(phases, "run_unit", self.run_unit)
        settings = Settings(data=data)
        self.worker = worker_of(store, settings, Lane.METHOD, lambda: self._is_draining)

    def output(self, *args):
        if not self.times:
            return self._output(*args)
        self.times -= 1
        self._is_draining = self.drains
        raise redis.ConnectionError

    def run_unit(self, unit, outputs, *_, **__):
        if unit.phase == "debias":
            self.seen = [outputs["embed", number] for number in range(2)]
        return Finished(f"{unit.phase}-{unit.unit}", 1)


def test_a_redis_that_is_away_for_a_moment_does_not_fail_the_unit(store, monkeypatch, tmp_path):
    submit(store, phases=TWO)
    away = Away(store, monkeypatch, tmp_path, times=1)

    away.worker.run_until_empty()

    assert away.seen == ["embed-0", "embed-1"]
    assert store.get("job_1").status is Status.SUCCEEDED


def test_a_worker_that_drains_while_redis_is_away_gives_the_unit_back(store, monkeypatch, tmp_path):
    submit(store, phases=TWO)

    Away(store, monkeypatch, tmp_path, times=9, drains=True).worker.run_until_empty()

    assert store.get("job_1").status is Status.RUNNING
    again = claim(store)
    assert (again.phase, again.attempt) == ("debias", 1)
