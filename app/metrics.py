"""What `GET /metrics` tells: this process's requests, and what Redis and the disk hold now.

Sums that belong to the work lie in Redis, where every worker adds to them: any API process gives
the same ones, and none is lost with a process.
"""

import shutil
from collections import Counter
from collections.abc import Sequence

import redis
import structlog

from app.deps import Services
from app.exposition import Family, Histogram, render
from models.config import METHOD_VERSION
from workers.jobs import Kind, Lane, Status
from workers.registry import Registry, Standing
from workers.stats import Stats, read_stats
from workers.version import code_version

log = structlog.get_logger()

Families = list[Family | Histogram]

ENDS = [status for status in Status if status.is_final]


def scrape(services: Services) -> str:
    """The whole answer. Without Redis it is shorter, and says that Redis is away."""
    return render([*_of_this_process(services), *_of_the_disk(services), *_of_redis(services)])


def _of_this_process(services: Services) -> Families:
    build = Family("ccd_build_info", "gauge", "Version of the service and of the method: always 1.")
    build.add(1, version=code_version(), method=str(METHOD_VERSION))
    requests = Family("ccd_http_requests_total", "counter", "Requests that this process answered.")
    for (method, route, status), count in services.times.statuses().items():
        requests.add(count, method=method, route=route, status=str(status))
    seconds = Histogram("ccd_http_request_seconds", "From a request to the end of its answer.")
    for (method, route), (counts, total) in services.times.durations().items():
        seconds.add(counts, total, method=method, route=route)
    return [build, requests, seconds]


def _of_the_disk(services: Services) -> Families:
    usage = shutil.disk_usage(services.data.root)
    free = Family("ccd_disk_free_bytes", "gauge", "Free on the disk of the data folder.")
    free.add(usage.free)
    size = Family("ccd_disk_size_bytes", "gauge", "Size of the disk of the data folder.")
    size.add(usage.total)
    return [free, size]


def _of_redis(services: Services) -> Families:
    is_up = Family("ccd_redis_up", "gauge", "Whether Redis answers this process: 1 or 0.")
    try:
        stats = read_stats(services.store)
        standings = [entry.standing for entry in Registry(services.store).list()]
        memory = _memory(services)
    except redis.RedisError as error:
        log.warning("redis.unavailable", error=str(error))
        is_up.add(0)
        return [is_up]
    is_up.add(1)
    return [
        *(is_up, *memory),
        *(*_queues(stats), *_leases(stats)),
        *(*_work(stats), *_ends(stats)),
        *(*_workers(standings), *_gpus(standings)),
    ]


def _memory(services: Services) -> Families:
    """Nothing where Redis tells it to administrators alone."""
    try:
        info = services.store.redis.info("memory")
    except redis.exceptions.NoPermissionError:
        return []
    used = Family("ccd_redis_memory_used_bytes", "gauge", "Memory that Redis uses.")
    used.add(info["used_memory"])
    limit = Family("ccd_redis_memory_limit_bytes", "gauge", "Its maxmemory; 0: no limit.")
    limit.add(info["maxmemory"])
    return [used, limit]


def _queues(stats: Stats) -> Families:
    waiting = Family("ccd_queue_units", "gauge", "Units that a worker could claim now.")
    delayed = Family("ccd_queue_delayed_units", "gauge", "Units that wait for another attempt.")
    oldest = Family("ccd_queue_oldest_seconds", "gauge", "Wait of the longest waiting unit.")
    for lane, queue in stats.queues.items():
        waiting.add(queue.waiting, lane=lane)
        delayed.add(queue.delayed, lane=lane)
        oldest.add(queue.oldest_seconds, lane=lane)
    return [waiting, delayed, oldest]


def _leases(stats: Stats) -> Families:
    leases = Family("ccd_leases", "gauge", "Units in the hands of workers.")
    leases.add(stats.leases)
    age = Family("ccd_lease_age_seconds", "gauge", "Since the least recent renewal of a lease.")
    age.add(stats.lease_age_seconds)
    return [leases, age]


def _work(stats: Stats) -> Families:
    attempts = Family(
        "ccd_unit_attempts_total",
        "counter",
        "Attempts at units by how they ended: done, reused (the output lay there), failed, lost "
        "(with the worker), stopped (cancelled), given_back (drained).",
    )
    for (phase, outcome), count in stats.attempts.items():
        attempts.add(count, phase=phase, outcome=outcome)
    images = Family("ccd_images_total", "counter", "Images of units that were done, not reused.")
    for phase, count in stats.images.items():
        images.add(count, phase=phase)
    return [attempts, images]


def _ends(stats: Stats) -> Families:
    ended = Family("ccd_records_ended_total", "counter", "Records by how they ended.")
    for kind in Kind:
        for status in ENDS:  # what never happened is 0, so that an alert sees the first
            ended.add(stats.ended.get((kind, status), 0), kind=kind, status=status)
    seconds = Histogram("ccd_phase_seconds", "Time that a phase of a record was in work.")
    for phase, durations in stats.phases.items():
        seconds.add(durations.counts, durations.seconds, phase=phase)
    return [ended, seconds]


def _workers(standings: Sequence[Standing]) -> Families:
    there = Family("ccd_workers", "gauge", "Workers heard within a lease.")
    busy = Family("ccd_workers_busy", "gauge", "Workers with a unit in hand.")
    rate = Family("ccd_images_per_second", "gauge", "Of all units in hand, as workers measure it.")
    builds = Family("ccd_worker_builds", "gauge", "Workers of each version of service and method.")
    for (version, method), count in Counter((one.version, one.method) for one in standings).items():
        builds.add(count, version=version, method=str(method))
    for lane in Lane:
        own = [one for one in standings if one.lane == lane]
        at_work = [one for one in own if one.unit]
        there.add(len(own), lane=lane)
        busy.add(len(at_work), lane=lane)
        rate.add(sum(one.images_per_second or 0 for one in at_work), lane=lane)
    return [there, busy, rate, builds]


def _gpus(standings: Sequence[Standing]) -> Families:
    used = Family("ccd_gpu_memory_used_bytes", "gauge", "Memory in use on a GPU, by anybody.")
    size = Family("ccd_gpu_memory_size_bytes", "gauge", "Memory of a GPU.")
    share = Family("ccd_gpu_utilization_ratio", "gauge", "Of the time a GPU computes, 0..1.")
    gpus = {one.gpu: one for one in standings if one.gpu is not None}  # workers may share one
    for gpu, one in sorted(gpus.items()):
        if one.memory_used_bytes is not None:
            used.add(one.memory_used_bytes, gpu=gpu, device=one.device)
        if one.memory_bytes is not None:
            size.add(one.memory_bytes, gpu=gpu, device=one.device)
        if one.gpu_utilization is not None:
            share.add(one.gpu_utilization, gpu=gpu, device=one.device)
    return [used, size, share]
