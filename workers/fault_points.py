"""Named points at which a fault can be put into a process; they do nothing unless armed.

CCD_FAULTS arms them, for tests of what the service survives: `point[@about][:nth]=action[:always]`,
several separated by commas. `unit.batch@train:3=kill` kills the process at its third batch of
`train`, `publish.after_rename@weights=corrupt` flips a bit in the first weights that it publishes.
A fault happens once in a data folder, where a mark of it stays; one with `always` every time.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

#: Of the standard library: a process that decodes has no other.
logger = logging.getLogger(__name__)

#: Each point, and what its faults may act upon besides the process.
POINTS: Mapping[str, frozenset[str]] = {
    # A unit of work, about `record/phase/number`: claimed; after a batch of images; its output
    # published, Redis not told yet; Redis told, nobody rung for.
    "unit.started": frozenset({"redis"}),
    "unit.batch": frozenset({"redis"}),
    "unit.published": frozenset({"redis"}),
    "unit.recorded": frozenset({"redis"}),
    # A folder on its way into sight, about its path in the data folder.
    "publish.before_data": frozenset(),
    "publish.after_data": frozenset({"files"}),
    "publish.before_manifest": frozenset(),
    "publish.before_rename": frozenset({"files"}),
    "publish.after_rename": frozenset({"files"}),
    # A JSON file that is about to replace the one before, about its name.
    "json.before_replace": frozenset({"files"}),
    # A file in the process that decodes it, about its path.
    "decode.file": frozenset(),
    # A unit whose worker is lost, about the unit.
    "reaper.before_requeue": frozenset({"redis"}),
    "reaper.after_requeue": frozenset({"redis"}),
    # What was asked for is on disk, about the id; a chunk of an upload is on disk.
    "submit.written": frozenset({"redis"}),
    # A deletion is written down, about the id; its records are forgotten, not yet their folders.
    "delete.marked": frozenset({"redis"}),
    "delete.forgotten": frozenset({"redis"}),
    # A request is accepted and its records are made; its answer is not kept yet, nor sent.
    "create.accepted": frozenset({"redis"}),
    "upload.chunk": frozenset(),
}

#: `eat` stops here where nothing else stops it, in bytes.
MAX_EATEN = 2 << 30
EATEN_AT_ONCE = 16 << 20

_FORM = re.compile(
    r"(?P<point>[a-z_.]+)(@(?P<about>[^:=,]+))?(:(?P<nth>\d+))?=(?P<action>[a-z]+)(?P<always>:always)?"
)


@dataclass(frozen=True)
class Fault:
    """What happens, at which point, and when."""

    point: str
    #: A part of what the point is about there.
    about: str
    #: At which passing, from 1, of one process.
    nth: int
    action: str
    always: bool
    #: As it was written.
    text: str


@dataclass(frozen=True)
class Place:
    """Where a process is when it passes a point."""

    point: str
    about: str
    files: Path | None
    redis: Any


class InjectedFault(Exception):
    """The error that the action `raise` raises."""


def read_faults(text: str) -> tuple[Fault, ...]:
    """The faults of a setting.

    Raises:
        ValueError: it names what does not exist, with what does.
    """
    return tuple(_read_fault(part.strip()) for part in text.split(",") if part.strip())


def _read_fault(text: str) -> Fault:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(
            f"a fault is written point[@about][:nth]=action[:always], as in "
            f"unit.batch@train:3=kill, not {text!r}"
        )
    point, action = found["point"], found["action"]
    if point not in POINTS:
        raise ValueError(f"there is no fault point {point!r}; there are {', '.join(POINTS)}")
    if action not in ACTIONS:
        raise ValueError(f"a fault cannot {action!r}; it can {', '.join(ACTIONS)}")
    needed = NEEDS.get(action)
    if needed and needed not in POINTS[point]:
        able = [name for name, has in POINTS.items() if needed in has]
        raise ValueError(f"a fault can {action} at {', '.join(able)}, not at {point}")
    nth = int(found["nth"] or 1)
    if nth < 1:
        raise ValueError(f"a passing is counted from 1, not from {nth}, in {text!r}")
    return Fault(point, found["about"] or "", nth, action, bool(found["always"]), text)


class _Armed:
    """One fault in wait, and how often this process came by."""

    def __init__(self, fault: Fault, mark: Path) -> None:
        self.fault, self.mark = fault, mark
        self.passed = 0

    def is_due(self, place: Place) -> bool:
        fault = self.fault
        if fault.point != place.point or fault.about not in place.about:
            return False
        self.passed += 1
        if fault.always:
            return self.passed >= fault.nth
        return self.passed == fault.nth and self._is_first()

    def _is_first(self) -> bool:
        """Whether no process of this data folder had it before; leaves the mark."""
        self.mark.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


_armed: list[_Armed] = []
_passing = threading.Lock()


def arm(faults: tuple[Fault, ...], marks: Path) -> None:
    """Lay the faults in wait in this process, in place of those before."""
    _armed[:] = [_Armed(one, marks / re.sub(r"[^\w.=@-]", "_", one.text)) for one in faults]
    if faults:
        logger.warning("faults.armed: %s", ",".join(one.text for one in faults))


def armed() -> tuple[str, str] | None:
    """What a child process needs to be armed as this one is; None where it is not."""
    if not _armed:
        return None
    return ",".join(one.fault.text for one in _armed), str(_armed[0].mark.parent)


def fault(point: str, about: str = "", *, files: Path | None = None, redis: Any = None) -> None:
    """A point is passed: whatever lies in wait for it happens.

    Args:
        point: its name.
        about: what is being worked on.
        files: a file or folder whose bytes may be corrupted.
        redis: a client whose connections may be dropped.
    """
    if _armed:
        _meet(Place(point, about, files, redis))


def _meet(place: Place) -> None:
    with _passing:
        due = [one.fault for one in _armed if one.is_due(place)]
    for one in due:
        logger.warning("fault.met: %s at %s", one.text, place.about)
        ACTIONS[one.action](place)


# Actions


def _kill(_place: Place) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(_place: Place) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _crash(_place: Place) -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def _exit(_place: Place) -> NoReturn:
    os._exit(1)


def _hang(_place: Place) -> None:
    threading.Event().wait()


def _raise(place: Place) -> NoReturn:
    raise InjectedFault(f"put in at {place.point}")


def _fill(_place: Place) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _eat(_place: Place) -> NoReturn:
    """Take memory, page by page, until there is no more."""
    eaten: list[bytes] = []
    while len(eaten) * EATEN_AT_ONCE < MAX_EATEN:
        eaten.append(b"x" * EATEN_AT_ONCE)
        threading.Event().wait(0.01)  # whoever watches over memory has time to act
    raise MemoryError(f"{MAX_EATEN:,} bytes were eaten")


def _corrupt(place: Place) -> None:
    """Flip a bit in the middle of the largest file."""
    assert place.files is not None, "`read_faults` has seen to it"
    below = [path for path in (place.files, *place.files.rglob("*")) if path.is_file()]
    path = max(below, key=lambda path: (path.stat().st_size, path.name))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _drop(place: Place) -> None:
    place.redis.connection_pool.disconnect()


ACTIONS: Mapping[str, Callable[[Place], None]] = {
    "kill": _kill,
    "stop": _stop,
    "segv": _crash,
    "exit": _exit,
    "hang": _hang,
    "raise": _raise,
    "enospc": _fill,
    "eat": _eat,
    "corrupt": _corrupt,
    "drop": _drop,
}

#: What an action acts upon, where that is not the process alone.
NEEDS: Mapping[str, str] = {"corrupt": "files", "drop": "redis"}
