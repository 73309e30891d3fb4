"""Child processes that never outlive their supervisor."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

#: prctl(2): the signal that the kernel sends to a process when its parent dies.
PR_SET_PDEATHSIG = 1


class NotStarted(Exception):
    """A child process did not come up."""


def start_child(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """A process in a session of its own, its output appended to `log`.

    Its own session keeps a Ctrl-C of the terminal away from it. On Linux it is killed when the
    thread that called this ends, so call it from the main thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            preexec_fn=_dies_with(os.getpid()),  # noqa: PLW1509 - one prctl call, no lock taken
        )


def stop_child(child: subprocess.Popen[bytes], *, seconds: float) -> bool:
    """True if SIGTERM ended the child in time; else it is killed with everything it started."""
    if child.poll() is not None:
        return True
    child.terminate()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        kill_session(child)
        child.wait()
        return False
    return True


def kill_session(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and every process of its session's first group."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file, empty if there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _dies_with(parent: int) -> "partial[None] | None":
    if not sys.platform.startswith("linux"):
        return None
    return partial(_ask_for_death, ctypes.CDLL(None, use_errno=True), parent)


def _ask_for_death(libc: ctypes.CDLL, parent: int) -> None:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os._exit(1)
