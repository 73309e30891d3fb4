"""The last signs of life of a worker: what a user is told should it be lost."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict, dataclass

from workers.jobs import JobError, split_unit_id

#: Characters of one log line that are kept.
MAX_LINE = 200


@dataclass(frozen=True)
class Signs:
    """How a worker stood when it was last heard."""

    #: Most memory that its process has had so far, in bytes; 0: not known.
    peak_bytes: int = 0
    #: The last lines of its log about the unit in hand.
    log: tuple[str, ...] = ()

    @property
    def peak(self) -> str:
        """The most memory, for people; empty where it is not known."""
        return f"{self.peak_bytes / 1e9:.1f} GB" if self.peak_bytes else ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | None) -> Signs:
        told = json.loads(text) if text else {}
        return Signs(told.get("peak_bytes", 0), tuple(told.get("log", ())))


def signs_now(log: tuple[str, ...]) -> Signs:
    """Those of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return Signs(peak * unit, tuple(line[:MAX_LINE] for line in log))


def worker_lost(unit: str, attempts: int, signs: Signs) -> JobError:
    """Why a record fails whose unit took its worker along in every attempt."""
    message = [f"The worker was lost in each of {attempts} attempts at {unit}."]
    if signs.peak:
        message.append(
            f"When it was last heard its process had taken up to {signs.peak} of memory."
        )
    if signs.log:
        message.append(f"The last lines of its log: {' | '.join(signs.log)}")
    return JobError(
        code="worker_lost",
        phase=split_unit_id(unit)[1],
        message=" ".join(message),
        hint="If that is near what the machine has, it ran out of memory: start the job again with "
        "a smaller batch_size or teacher_batch. Else look for the end of the worker in its log.",
        retryable=True,
    )
