"""Out of memory is answered once, with half the batch: where that helps, and what is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from workers.jobs import Claim

#: Phase -> the field of the config that says how much of a unit's work is in memory at once.
#: Training halves no step: it goes through the batch in two parts and adds up their gradients.
HALVED = {
    "embed": "teacher_batch",
    "localize": "teacher_batch",
    "warm_up": "batch_size",
    "train": "batch_size",
    "score": "batch_size",
}
#: A fact of the record is named `batch_halved/<phase>/<unit>`: one a unit, so that units that end
#: at the same time on two workers do not overwrite each other's.
FACT = "batch_halved/"

#: What torch, CUDA and the system say besides raising MemoryError.
PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")


class StillOutOfMemory(MemoryError):
    """Half the batch was too much as well."""

    code = "out_of_memory"

    def __init__(self, field: str, tried: int, error: Exception) -> None:
        reason = str(error) or type(error).__name__  # Python's own says nothing
        super().__init__(f"memory ran out with {field} {tried}, and with half of it: {reason}")
        self.hint = (
            f"Start the job again with {field} below {tried // 2} in config, with a smaller "
            "student_size or view_size, or on a machine with more memory."
        )


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether this, or what it comes from, is a lack of memory."""
    text = str(error).lower()
    is_so = isinstance(error, MemoryError) or any(phrase in text for phrase in PHRASES)
    cause = error.__cause__
    return is_so or (cause is not None and ran_out_of_memory(cause))


def batch_of(claim: Claim) -> tuple[str, int] | None:
    """The field and its value that can be halved for this unit; None where none can."""
    field = HALVED.get(claim.phase)
    if field is None:
        return None
    size = int(claim.record.request["config"][field])
    return (field, size) if size > 1 else None


def fact_of(claim: Claim) -> dict[str, Any]:
    """What the record keeps of a unit that was run with half the batch."""
    found = batch_of(claim)
    assert found is not None, "it was halved"
    field, size = found
    return {f"{FACT}{claim.phase}/{claim.unit}": {"field": field, "from": size, "to": size // 2}}


def is_halved(facts: Mapping[str, Any], phase: str, unit: int) -> bool:
    """Whether a unit that is done was run with half the batch."""
    return f"{FACT}{phase}/{unit}" in facts


def halving_warnings(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One warning about all units that were run with half the batch; none where there are none."""
    halved = Counter(
        (name.split("/")[1], told["field"], told["to"])
        for name, told in facts.items()
        if name.startswith(FACT)
    )
    if not halved:
        return []
    listed = ", ".join(
        f"{count} units of {phase} ({field} {to})"
        for (phase, field, to), count in sorted(halved.items())
    )
    message = (
        f"memory ran out, and half the batch was taken for {listed}: the results are as good, but "
        "not the same bytes as those of a run that had the memory"
    )
    return [{"code": "batch_halved", "classes": [], "message": message}]
