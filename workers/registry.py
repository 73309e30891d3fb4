"""The workers there are: each says so with every heartbeat, and is forgotten when it falls silent.

No record depends on it: what a worker holds is in the leases.
"""

import dataclasses
import hashlib
import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from workers.jobs import Lane, rfc3339, split_unit_id
from workers.store import Store

WORKERS = "ccd:workers"
#: Which run of which machine, and in it which container: the place where process ids are unique.
BOOT, CONTAINER = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a worker says of itself."""

    #: Also the name under which it claims units.
    name: str
    lane: Lane
    host: str
    #: Of its main process: the one that a signal drains.
    pid: int
    #: Of the installed package.
    version: str
    #: Of the method's results; it leaves records of a newer one alone.
    method: int
    #: Name of the processor, and of a GPU its id.
    device: str
    gpu: str | None
    memory_bytes: int | None
    memory_used_bytes: int | None
    #: Of a GPU: share of the time in which it computes, 0..1.
    gpu_utilization: float | None
    #: It gives back what it has in hand and ends.
    draining: bool
    #: Id of the unit in hand.
    unit: str | None
    #: Of the unit in hand, or of the last one that took long enough to tell.
    images_per_second: float | None


@dataclass(frozen=True)
class WorkerEntry:
    """One worker as the registry holds it. Times are RFC 3339 in UTC."""

    standing: Standing
    started_at: str
    heard_at: str

    @property
    def unit(self) -> tuple[str, str, int] | None:
        """(record id, phase, number) of the unit in hand."""
        return split_unit_id(self.standing.unit) if self.standing.unit else None


def worker_name(lane: Lane, pid: int) -> str:
    """The name of the worker here whose main process has this id; no other worker bears it."""
    return f"{_names_here(lane)}{pid}"


def is_here(standing: Standing, lane: Lane) -> bool:
    """Whether it is a worker of the lane, in the container or on the machine of this process."""
    return standing.name.startswith(_names_here(lane))


def _names_here(lane: Lane) -> str:
    return f"{lane}@{socket.gethostname()}:{place()}:"


@cache
def place() -> str:
    """Eight hex digits for where this process runs: hosts, containers above all, share names."""
    try:
        parts = [BOOT.read_text().strip(), str(CONTAINER.readlink())]
    except OSError:  # not Linux: a machine without containers, whose name has to do
        parts = []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


class Registry:
    """Which workers there are, in the Redis of a store; errors of Redis pass through."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def announce(self, standing: Standing) -> None:
        """It lives, and is remembered for the length of a lease."""
        self._store.call("announce", standing.name, json.dumps(asdict(standing)))

    def forget(self, name: str) -> None:
        """It is gone, and said so."""
        with self._store.redis.pipeline() as pipeline:
            pipeline.srem(WORKERS, name)
            pipeline.delete(_key(name))
            pipeline.execute()

    def has_heard(self, name: str) -> bool:
        """Whether a worker said within a lease that it lives."""
        return bool(self._store.redis.exists(_key(name)))

    def list(self) -> list[WorkerEntry]:
        """Those that are there, by lane and name."""
        names = sorted(cast("set[str]", self._store.redis.smembers(WORKERS)))
        with self._store.redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.hgetall(_key(name))
            found = dict(zip(names, pipeline.execute(), strict=True))
        silent = [name for name, fields in found.items() if not fields]
        if silent:  # one that comes back says its name with the next heartbeat
            self._store.redis.srem(WORKERS, *silent)
        entries = [_read(fields) for fields in found.values() if fields]
        return sorted(entries, key=lambda entry: (entry.standing.lane, entry.standing.name))


def _key(name: str) -> str:
    return f"ccd:worker:{name}"


def _read(fields: Mapping[str, str]) -> WorkerEntry:
    said: dict[str, Any] = json.loads(fields["standing"])
    # A worker of another version may say more than is known here, or less.
    known: dict[str, Any] = {one.name: said.get(one.name) for one in dataclasses.fields(Standing)}
    known["lane"] = Lane(said["lane"])
    return WorkerEntry(
        Standing(**known),
        started_at=rfc3339(int(fields["started_ms"])),
        heard_at=rfc3339(int(fields["heard_ms"])),
    )
