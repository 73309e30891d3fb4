"""`GET /metrics` over a real store: what it says of queues, work, workers, requests."""

from dataclasses import replace

import httpx
import pytest

from app.exposition import MEDIA_TYPE
from tests.expositions import read, value
from tests.serving import wait_until
from tests.store_calls import BROKEN, CHECK, EPOCHS, SHARDS, STANDING, claim, lose, register, submit
from workers.jobs import Lane
from workers.registry import Registry
from workers.settings import Settings
from workers.stats import cumulated, read_stats


@pytest.fixture
def scrape(api):
    def scrape():
        reply = api.get("/metrics")
        assert (reply.status_code, reply.headers["content-type"]) == (200, MEDIA_TYPE)
        return read(reply.text)

    return scrape


def attempts(metrics):
    """{(phase, outcome): count}."""
    return {
        (dict(labels)["phase"], dict(labels)["outcome"]): count
        for (_, labels), count in metrics["ccd_unit_attempts_total"].samples.items()
    }


def test_an_empty_service_has_its_queues_and_its_ends_at_0(scrape):
    metrics = scrape()

    for lane in Lane:
        for name in ("ccd_queue_units", "ccd_queue_oldest_seconds", "ccd_workers"):
            assert value(metrics, name, lane=lane) == 0
    assert value(metrics, "ccd_records_ended_total", kind="job", status="failed") == 0
    assert value(metrics, "ccd_redis_up") == 1
    assert value(metrics, "ccd_redis_memory_used_bytes") > 0
    assert 0 < value(metrics, "ccd_disk_free_bytes") <= value(metrics, "ccd_disk_size_bytes")
    assert attempts(metrics) == {}


def test_queues_tell_what_waits_and_for_how_long(api, scrape):
    submit(api.store)
    register(api.store)
    wait_until(lambda: read_stats(api.store).queues[Lane.METHOD].oldest_seconds > 0.05)
    held = claim(api.store)
    metrics = scrape()

    assert value(metrics, "ccd_queue_units", lane="method") == 2
    assert value(metrics, "ccd_queue_units", lane="io") == 1
    assert value(metrics, "ccd_queue_oldest_seconds", lane="method") > 0.05
    assert value(metrics, "ccd_leases") == 1
    assert 0 <= value(metrics, "ccd_lease_age_seconds") < 60

    api.store.give_back(held)
    assert value(scrape(), "ccd_queue_units", lane="method") == 3


def test_a_unit_that_comes_back_waits_anew(api):
    submit(api.store, phases=CHECK)
    api.store.redis.zincrby("ccd:waiting:method", -3_600_000, "job_1/check/000000")
    assert read_stats(api.store).queues[Lane.METHOD].oldest_seconds >= 3600

    api.store.give_back(claim(api.store))

    assert read_stats(api.store).queues[Lane.METHOD].oldest_seconds < 3600


def test_a_lease_ages_until_it_is_renewed(api):
    submit(api.store, phases=CHECK)
    held = claim(api.store)
    api.store.redis.zincrby("ccd:leases", -40_000, held.unit_id)
    assert read_stats(api.store).lease_age_seconds >= 40

    api.store.renew(held, done=1)

    assert read_stats(api.store).lease_age_seconds < 40


def test_every_end_of_an_attempt_is_counted_by_phase(api, scrape):
    store = api.store
    submit(store, phases=[SHARDS, *CHECK])
    store.give_back(claim(store))
    lose(store, claim(store))
    store.complete(claim(store), output="a", done=5)
    store.complete(claim(store), output="b", done=7, reused=True)
    store.complete(claim(store), output="c", done=2)
    store.fail(claim(store), BROKEN)
    submit(store, id="job_2", phases=CHECK)
    stopped = claim(store)
    store.cancel("job_2")
    store.stopped(stopped)

    metrics = scrape()

    assert attempts(metrics) == {
        ("embed", "given_back"): 1,
        ("embed", "lost"): 1,
        ("embed", "done"): 2,
        ("embed", "reused"): 1,
        ("check", "failed"): 1,
        ("check", "stopped"): 1,
    }
    assert value(metrics, "ccd_images_total", phase="embed") == 7
    for status, count in {"failed": 1, "cancelled": 1, "succeeded": 0}.items():
        assert value(metrics, "ccd_records_ended_total", kind="job", status=status) == count


def test_a_phase_that_is_over_is_in_the_bucket_of_its_time_in_work(api, scrape):
    store = api.store
    submit(store, phases=[EPOCHS, SHARDS])
    store.complete(claim(store), output="a", done=1)
    assert scrape()["ccd_phase_seconds"].samples == {}

    store.redis.hset("ccd:record:job_1", "busy_ms", 30_000)  # as if the second took so long
    store.complete(claim(store), output="b", done=1)

    metrics = scrape()
    found = {
        bound: value(metrics, "ccd_phase_seconds_bucket", phase="train", le=bound)
        for bound in ("15", "60", "300", "+Inf")
    }
    assert found == {"15": 0, "60": 1, "300": 1, "+Inf": 1}
    assert 30 <= value(metrics, "ccd_phase_seconds_sum", phase="train") < 60


def test_buckets_of_an_earlier_version_still_count():
    found = cumulated({2.0: 1, 5.0: 4, float("inf"): 1})

    assert (found[1.0], found[2.0], found[5.0], found[float("inf")]) == (0, 1, 5, 6)


def test_workers_are_counted_and_their_rates_added(api, scrape):
    registry = Registry(api.store)
    unit = "job_1/embed/000000"
    for name, more in {
        "a": {"unit": unit, "images_per_second": 2.5},
        "b": {"unit": unit, "images_per_second": 1.0},
        "c": {"images_per_second": 9.0, "gpu": "GPU-b", "memory_used_bytes": None},
        "d": {"lane": Lane.IO, "gpu": None, "device": "cpu", "version": "2.0"},
    }.items():
        registry.announce(replace(STANDING, name=name, **more))

    metrics = scrape()

    assert value(metrics, "ccd_workers", lane="method") == 3
    assert value(metrics, "ccd_workers", lane="io") == 1
    assert value(metrics, "ccd_workers_busy", lane="method") == 2
    assert value(metrics, "ccd_images_per_second", lane="method") == 3.5
    assert value(metrics, "ccd_gpu_memory_used_bytes", gpu="GPU-a", device="Some GPU") == 10
    assert len(metrics["ccd_gpu_memory_used_bytes"].samples) == 1
    assert len(metrics["ccd_gpu_memory_size_bytes"].samples) == 2
    assert value(metrics, "ccd_gpu_utilization_ratio", gpu="GPU-a", device="Some GPU") == 0.75
    assert value(metrics, "ccd_worker_builds", version="2.0", method="1") == 1


def test_requests_are_counted_by_template_and_status(api, scrape):
    def count(status):
        labels = {"method": "GET", "route": "/v1/jobs/{job_id}", "status": status}
        key = ("ccd_http_requests_total", frozenset(labels.items()))
        return scrape()["ccd_http_requests_total"].samples.get(key, 0)

    before = count("404")
    for number in range(3):
        api.get(f"/v1/jobs/job_{number}")

    wait_until(lambda: count("404") == before + 3)
    text = api.get("/metrics").text
    assert "job_1" not in text
    metrics = read(text)
    labels = {"method": "GET", "route": "/v1/jobs/{job_id}"}
    assert value(metrics, "ccd_http_request_seconds_count", **labels) >= 3
    assert value(metrics, "ccd_http_request_seconds_sum", **labels) > 0


def test_without_redis_a_scrape_says_so_and_tells_the_rest(tmp_path, running_server):
    settings = Settings(data=tmp_path, redis_url="redis://127.0.0.1:1", reap_seconds=600)
    with running_server(settings) as server:
        reply = httpx.get(f"{server.url}/metrics", timeout=20)

    metrics = read(reply.text)
    assert reply.status_code == 200
    assert value(metrics, "ccd_redis_up") == 0
    assert value(metrics, "ccd_disk_free_bytes") > 0
    assert "ccd_queue_units" not in metrics


def test_sums_outlive_the_process_that_tells_them(api, scrape, tmp_path, running_server):
    submit(api.store, phases=CHECK)
    api.store.complete(claim(api.store), output="a", done=3)
    settings = api.settings.model_copy(update={"data": tmp_path})

    with running_server(settings) as another:
        told = read(httpx.get(f"{another.url}/metrics", timeout=20).text)

    assert attempts(told) == attempts(scrape()) == {("check", "done"): 1}


def test_a_scrape_costs_as_much_with_a_thousand_jobs_as_with_one(api, scrape):
    def calls():
        """Commands that Redis runs for one look at the store, those of scripts included."""
        api.store.redis.config_resetstat()
        read_stats(api.store)
        found = api.store.redis.info("commandstats")
        return {
            name: row["calls"]
            for name, row in found.items()
            if name.startswith("cmdstat_") and "config" not in name
        }

    submit(api.store, id="job_0", phases=CHECK)
    read_stats(api.store)  # the script is loaded
    with_one = calls()
    for number in range(1, 1000):
        submit(api.store, id=f"job_{number}", phases=CHECK)

    assert calls() == with_one
    assert value(scrape(), "ccd_queue_units", lane="method") == 1000
