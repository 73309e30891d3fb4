"""A small load: nothing accepted is lost, and nobody starves. The large one is `make load`."""

import logging

import pytest
import structlog

from benchmarks import simulated_store
from benchmarks.load import Tenant, drain, submit, unfinished
from benchmarks.simulate import all_jobs, bends, outcome, scripts, shares
from benchmarks.simulation import RATE, Simulation, World, plan, seconds_of
from models.config import PRESETS
from tests.valkeys import valkey
from workers.jobs import Kind, Status
from workers.phases import plan_of
from workers.settings import Settings
from workers.store import connect

WORLD = World(
    jobs=120,
    submitters=4,
    workers=8,
    io_workers=2,
    cancelled=12,
    failure_seconds=600,
    images=(100, 500),
    large=5,
)


@pytest.fixture(scope="module")
def simulation():
    """One that has come to its end, on a Valkey of its own."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with valkey() as url, connect(Settings(redis_url=url)) as client:
        simulation = Simulation(client, WORLD)
        simulation.submit()
        simulation.run()
        yield simulation
    structlog.configure(**before)


def test_every_job_ends_whatever_becomes_of_the_workers(simulation):
    records = all_jobs(simulation)
    by_status = {status: [r for r in records if r.status is status] for status in Status}

    assert len(records) == WORLD.jobs
    assert all(record.status.is_final for record in records)
    assert min(simulation.found.failures[how] for how in ("gone", "hung", "drained")) > 0
    assert simulation.found.refused > 0  # who came back too late
    assert 0 < len(by_status[Status.CANCELLED]) <= WORLD.cancelled
    assert {record.error.code for record in by_status[Status.FAILED]} <= {"worker_lost"}
    for record in by_status[Status.SUCCEEDED]:
        units = {(phase.name, k) for phase in record.phases for k in range(phase.units)}
        assert simulation.store.outputs(record.id).keys() == units


def test_redis_holds_nothing_of_work_that_is_over(simulation):
    kept = ("record", "records", "outputs", "stats", "worker", "workers", "projects", "usage")
    told = ("events",)  # for an hour

    names = {key.split(":")[1] for key in simulation.store.redis.keys("ccd:*")}
    assert names <= {*kept, *told}


def test_while_all_wait_nobody_is_served_more_than_a_unit_beyond_the_others(simulation):
    served, largest = simulation.found.served, simulation.largest_units()

    assert served.keys() == largest.keys()
    for one in served:
        for other in served:
            assert abs(served[one] - served[other]) <= largest[one] + largest[other]
    # Far more than that was to be had: it is no accident.
    assert min(served.values()) > 5 * max(largest.values())


def test_the_tables_tell_what_was_seen(simulation):
    rows = dict(row[:2] for row in outcome(simulation, all_jobs(simulation), 1.0))
    times = simulation.store.times_seen

    assert rows["jobs lost: in no final state"] == "0"
    assert (
        sum(
            int(rows[f"jobs {how}"])
            for how in ("succeeded", "cancelled on the way", "failed: one unit lost three workers")
        )
        == 120
    )
    assert {row[0] for row in scripts(times)[1:]} >= {"create", "claim", "complete", "requeue"}
    assert min(map(min, times.values())) == simulated_store.LEAST_NOTED
    assert len(bends(times)) > 1
    assert len(shares(simulation, all_jobs(simulation))) > 1


@pytest.mark.parametrize("images", [1, 3500])
def test_a_simulated_job_takes_as_long_as_its_phases_weigh(images):
    seconds = {phase.name: seconds_of(phase, images) for phase in plan(images)}
    passed = images / RATE  # once over all images

    assert plan(images) == plan_of(PRESETS["balanced"], images, 1000)
    assert seconds["embed"] == seconds["score"] == passed
    assert seconds["update"] == seconds["debias"] < passed / 10


def test_jobs_that_many_clients_submit_at_once_all_come_out(api):
    dataset_id = api.new_dataset()
    tenants = [Tenant({"X-Submitter": f"user-{n}"}, dataset_id) for n in range(5)]
    jobs, seconds = submit(api.base_url.netloc.decode(), tenants, 200)
    first = {record.submitter for record in api.store.list(Kind.JOB, limit=200)[0]}
    drain(api.store)

    ids = {job.id for job in jobs}
    assert len(ids) == len(seconds) == 200
    assert first == {f"user-{n}" for n in range(5)}
    assert unfinished(api.store, ids) == set()
