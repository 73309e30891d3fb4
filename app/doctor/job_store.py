"""Whether Redis keeps what it is told, and whether there are workers behind it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, cast

import redis

from app.doctor.findings import Finding, ok, problem, skipped, warning
from app.doctor.versions import as_numbers
from workers.eviction import REMEDY, SAFE_POLICY
from workers.jobs import Lane
from workers.queue import make_celery
from workers.settings import Settings

#: The oldest server that Celery 5.7 can use.
OLDEST = (6, 2)
#: By series, the first release whose Lua engine is safe against a user who may run scripts
#: (CVE-2025-49844). A server of a later series has it.
LUA_FIXED = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
#: Shares of the memory limit: at the first people should look, at the second new work is in danger.
MEMORY_HIGH, MEMORY_CRITICAL = 0.70, 0.85
#: Leases run by the clock of Redis alone; what people read beside them, and the age of staging
#: folders, go by the machine's own.
MAX_CLOCK_SECONDS = 5.0
#: How long the workers may take to answer.
PING_SECONDS = 2.0

Info = Mapping[str, Any]


def check_redis(url: str, *, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """The server at `url`; `clock` is this machine's."""
    client = redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=2, socket_connect_timeout=2
    )
    with closing(client):
        try:
            info = cast("Info", client.info())
        except redis.exceptions.NoPermissionError:
            yield skipped("redis", "this user may not call INFO, so nothing can be told")
            return
        except redis.RedisError as error:
            yield _unreachable(url, error)
            return
        yield ok("redis.reachable", _without_password(url))
        yield from _settings(client, info)
        yield _clock(client, clock)


def _settings(client: redis.Redis, info: Info) -> Iterator[Finding]:
    yield _version(info)
    yield _role(info)
    yield _cluster(info)
    yield _eviction(info)
    yield from _append_only(client, info)
    yield _memory(info)
    yield _persistence(info)


def check_workers(settings: Settings) -> Iterator[Finding]:
    """Whether a worker of each lane answers; `settings` name the Redis."""
    with closing(make_celery(settings)) as celery:
        try:
            answers = celery.control.ping(timeout=PING_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever Celery makes of a broken Redis
            yield skipped("workers", f"they could not be asked: {error}")
            return
    names = [name for answer in answers for name in answer]
    for lane in Lane:
        own = [name for name in names if name.startswith(f"{lane}-")]
        if own:
            yield ok(f"workers.{lane}", f"{len(own)}: {', '.join(sorted(own))}")
        else:
            yield problem(
                f"workers.{lane}",
                f"no worker answers within {PING_SECONDS:g} s",
                wanted="at least one worker of each lane",
                remedy=f"ccd worker --lane {lane}",
            )


def _unreachable(url: str, error: redis.RedisError) -> Finding:
    return problem(
        "redis.reachable",
        f"{_without_password(url)} does not answer: {error}",
        wanted="a Redis or Valkey that answers",
        remedy="start it, or set CCD_REDIS_URL to where it is",
    )


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _version(info: Info) -> Finding:
    kind = "valkey" if info.get("server_name") == "valkey" else "redis"
    text = str(info.get(f"{kind}_version", info["redis_version"]))
    version, found = as_numbers(text), f"{kind} {text}"
    if kind == "redis" and version < OLDEST:
        return problem(
            "redis.version",
            found,
            wanted="Redis 6.2 or later, or Valkey",
            remedy="upgrade the server",
        )
    fixed = [first for first in LUA_FIXED[kind] if first[:2] >= version[:2]]
    if fixed and version < fixed[0]:
        wanted = ".".join(map(str, fixed[0]))
        return warning(
            "redis.version",
            found,
            wanted=f"{kind} {wanted} or later, which mends CVE-2025-49844 in its Lua engine",
            remedy="upgrade the server, unless your distribution has put the patch into this one",
        )
    return ok("redis.version", found)


def _role(info: Info) -> Finding:
    if info.get("role") == "master":
        return ok("redis.role", "takes writes")
    return problem(
        "redis.role",
        f"{info.get('role')}: it takes no writes",
        wanted="the primary",
        remedy="set CCD_REDIS_URL to the primary",
    )


def _cluster(info: Info) -> Finding:
    if not info.get("cluster_enabled"):
        return ok("redis.cluster", "one node")
    return problem(
        "redis.cluster",
        "cluster mode is on",
        wanted="one node: a script changes keys that a cluster keeps on several",
        remedy="start the server with --cluster-enabled no",
    )


def _eviction(info: Info) -> Finding:
    policy = str(info.get("maxmemory_policy"))
    if policy == SAFE_POLICY:
        return ok("redis.eviction", policy)
    return problem("redis.eviction", policy, wanted=SAFE_POLICY, remedy=REMEDY)


def _append_only(client: redis.Redis, info: Info) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        yield problem(
            "redis.append_only",
            "off: what was accepted since the last snapshot is lost with the server",
            wanted="on",
            remedy="redis-cli CONFIG SET appendonly yes, and the same in its configuration file",
        )
        return
    yield ok("redis.append_only", "on")
    try:
        fsync = cast("dict[str, str]", client.config_get("appendfsync"))["appendfsync"]
    except (redis.ResponseError, KeyError):
        yield skipped("redis.fsync", "CONFIG is not allowed; it should be everysec or always")
        return
    if fsync == "no":
        yield problem(
            "redis.fsync",
            "appendfsync no: a power cut loses the last half minute or more",
            wanted="everysec or always",
            remedy="redis-cli CONFIG SET appendfsync everysec",
        )
        return
    yield ok("redis.fsync", f"appendfsync {fsync}")


def _memory(info: Info) -> Finding:
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    of_what = "of maxmemory" if limit else "of the machine's memory, with no maxmemory set"
    limit = limit or int(info.get("total_system_memory", 0))
    share = used / limit if limit else 0.0
    found = f"{share:.0%} {of_what}: {used:,} of {limit:,} bytes"
    if share < MEMORY_HIGH:
        return ok("redis.memory", found)
    level = problem if share >= MEMORY_CRITICAL else warning
    return level(
        "redis.memory",
        found,
        wanted=f"less than {MEMORY_HIGH:.0%}: a full Redis refuses new work with 503",
        remedy="redis-cli CONFIG SET maxmemory to twice what is used, or delete old datasets",
    )


def _persistence(info: Info) -> Finding:
    wanted = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    failed = [name for name in wanted if info.get(name, "ok") != "ok"]
    if not failed:
        return ok("redis.persistence", "its last writes to disk succeeded")
    return problem(
        "redis.persistence",
        f"{', '.join(failed)}: {info[failed[0]]}",
        wanted="ok: a Redis that cannot write its disk takes no new work",
        remedy="make room on its disk and see its log for the reason",
    )


def _clock(client: redis.Redis, clock: Callable[[], float]) -> Finding:
    before = clock()
    seconds, microseconds = client.time()
    ahead = seconds + microseconds / 1e6 - (before + clock()) / 2
    found = f"the clock of Redis is {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) <= MAX_CLOCK_SECONDS:
        return ok("redis.clock", found)
    return problem(
        "redis.clock",
        found,
        wanted=f"at most {MAX_CLOCK_SECONDS:g} s from this machine's",
        remedy="timedatectl set-ntp true, on both machines",
    )
