"""What memory a benchmark took."""

from __future__ import annotations

from pathlib import Path


def peak_of_process() -> int:
    """Peak memory of this process so far, in bytes."""
    # Not ru_maxrss: what this process was forked from counts in it.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
