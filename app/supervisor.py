"""Keeps child processes running: starts them again when they die, stops them in order."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from app.children import kill_session, tail

#: Wait before a child is started again, in seconds: doubles with every death in a row.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
#: A child that lived this many seconds had come up; one that died before died early.
HEALTHY_SECONDS = 10.0
#: One that had come up waits at most this share of the time it lived: however often it ends, by
#: itself or from outside, it is there for four fifths of the time.
LONGEST_SHARE = 0.25
#: A life of this many seconds makes the deaths before it forgotten.
STEADY_SECONDS = 600.0
#: Early deaths in a row after which a service that never was ready gives up.
EARLY_DEATHS = 3


class ChildKeepsDying(Exception):
    """A child ends again and again before the service was ready once."""


@dataclass(frozen=True)
class Deaths:
    """How often a child has died, as far as it matters."""

    #: Since it last lived for STEADY_SECONDS.
    recent: int = 0
    #: Early ones in a row.
    early: int = 0

    def and_after(self, lived: float) -> tuple["Deaths", float]:
        """With one more, after a life of `lived` seconds; seconds until it starts again."""
        recent = 1 if lived >= STEADY_SECONDS else self.recent + 1
        if lived < HEALTHY_SECONDS:
            return Deaths(recent, self.early + 1), _pause(self.early, LONGEST_PAUSE)
        return Deaths(recent), _pause(recent - 1, min(LONGEST_PAUSE, lived * LONGEST_SHARE))


def _pause(deaths_before: int, longest: float) -> float:
    doublings = min(deaths_before, 16)  # past every pause, and short of an overflow
    return min(longest, FIRST_PAUSE * (1 << doublings))


@dataclass
class Child:
    """One program that is kept running."""

    name: str
    process: subprocess.Popen[bytes]
    start: Callable[[], subprocess.Popen[bytes]]
    log: Path
    on_death: Callable[[int], None]
    started_at: float
    deaths: Deaths = Deaths()
    start_again_at: float | None = None


class Supervisor:
    """Children by name, in the order in which they were started."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: dict[str, Child] = {}

    def add(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        start: Callable[[], subprocess.Popen[bytes]],
        *,
        log: Path,
        on_death: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """Keep a running child running: `start` gives the next one when it dies.

        `on_death` is told the process id of each that died unasked.
        """
        self._children[name] = Child(name, process, start, log, on_death, time.monotonic())
        self._say(f"{name} started, process {process.pid}")

    def check(self) -> None:
        """Start again what has died and has waited long enough."""
        for child in self._children.values():
            if child.start_again_at is not None:
                self._start_again(child)
            elif child.process.poll() is not None:
                self._note_death(child)

    def check_early_deaths(self) -> None:
        """Raise ChildKeepsDying, with the end of its log, where starting again is no use."""
        for child in self._children.values():
            if child.deaths.early >= EARLY_DEATHS:
                raise ChildKeepsDying(
                    f"{child.name} ended {child.deaths.early} times; "
                    f"the end of {child.log}:\n{tail(child.log)}"
                )

    def stop(self, names: Iterable[str], *, seconds: float) -> None:
        """End these children together: SIGTERM first, SIGKILL after `seconds`."""
        children = [self._children.pop(name) for name in names if name in self._children]
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + seconds
        for child in children:
            self._await_end(child, max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        """End everything at once."""
        for child in self._children.values():
            kill_session(child.process)
            child.process.wait()
        self._children.clear()

    def _note_death(self, child: Child) -> None:
        now = time.monotonic()
        child.deaths, pause = child.deaths.and_after(now - child.started_at)
        child.start_again_at = now + pause
        kill_session(child.process)  # whatever it had started
        child.on_death(child.process.pid)
        how = describe_end(child.process.returncode)
        self._say(f"{child.name} {how}; starts again in {pause:g} s, see {child.log}")

    def _start_again(self, child: Child) -> None:
        if child.start_again_at is None or time.monotonic() < child.start_again_at:
            return
        try:
            child.process = child.start()
        except (OSError, subprocess.SubprocessError) as error:  # no memory, files or processes left
            child.deaths, pause = child.deaths.and_after(0)
            child.start_again_at = time.monotonic() + pause
            self._say(f"{child.name} cannot be started: {error}; once more in {pause:g} s")
            return
        child.started_at = time.monotonic()
        child.start_again_at = None
        self._say(f"{child.name} started, process {child.process.pid}")

    def _await_end(self, child: Child, seconds: float) -> None:
        try:
            child.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._say(f"{child.name} did not stop in time and is killed")
        kill_session(child.process)  # itself, or what it left behind
        child.process.wait()
        self._say(f"{child.name} stopped")


def describe_end(code: int) -> str:
    """`ended with code 1` or `was ended by SIGKILL`."""
    if code >= 0:
        return f"ended with code {code}"
    return f"was ended by {signal.Signals(-code).name}"
