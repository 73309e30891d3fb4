"""The Lua scripts of `workers/scripts`, as Redis gets them, and what each of them is told."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources

from workers.jobs import MOVES, Status

#: Upper bounds of the buckets into which the durations of phases fall, in whole seconds.
PHASE_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)
#: For so long the key of a request is held while it is answered. Who dies with one blocks it no
#: longer; who is slower does no harm, because whoever takes it over makes the same records.
ONCE_LEASE_SECONDS = 10
#: How long a key and the answer to its request are remembered.
ONCE_KEEP_SECONDS = 24 * 3600
#: What every script begins with, in this order.
SHARED = ("prelude", "shares", "events", "course")


def read_scripts() -> dict[str, str]:
    """The text of each script by its name, what all of them share in front."""
    folder = resources.files("workers") / "scripts"
    texts = {file.name.removesuffix(".lua"): file.read_text("utf-8") for file in folder.iterdir()}
    shared = "".join(texts.pop(name) for name in SHARED)
    return {name: shared + text for name, text in texts.items()}


def constants(
    *,
    lease_seconds: float,
    max_attempts: int,
    backoff_seconds: Sequence[float],
    ageing_seconds: float,
    shares: Mapping[str, float],
    method: int,
) -> str:
    """The first argument of every script, as JSON."""
    return json.dumps(
        {
            "moves": moves_by_target(),
            "lease_ms": round(lease_seconds * 1000),
            "max_attempts": max_attempts,
            "backoff_ms": [round(seconds * 1000) for seconds in backoff_seconds],
            "ageing_ms": round(ageing_seconds * 1000),
            "shares": dict(shares),
            "method": method,
            "phase_seconds": PHASE_SECONDS,
            "once_lease_ms": ONCE_LEASE_SECONDS * 1000,
            "once_keep_ms": ONCE_KEEP_SECONDS * 1000,
        }
    )


def moves_by_target() -> dict[str, dict[str, bool]]:
    """{to: {from: true}}, the form in which the scripts look a move up."""
    return {
        to: {status: True for status, moves in MOVES.items() if to in moves}
        for to in Status
        if any(to in moves for moves in MOVES.values())
    }
