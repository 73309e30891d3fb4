"""Counter-based randomness: a draw is a function of its key and index alone (docs/method.md 16).

No state, so nothing depends on what was drawn before: a run that is interrupted, cut into shards or
spread over threads draws the same numbers. Integer arithmetic only, so every machine agrees.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Words = npt.NDArray[np.uint64]

# SplitMix64 (Steele, Lea, Flood 2014): the increment and the two multipliers of its output mix.
INCREMENT = np.uint64(0x9E3779B97F4A7C15)
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def uniform(key: tuple[int | str, ...], indices: Tensor, draws: int) -> Tensor:
    """Uniform numbers in [0, 1), one row for each index.

    Args:
        key: names the stream, e.g. (seed, "augment", epoch).
        indices: (B,) int64, what is drawn for, e.g. the images' positions.
        draws: numbers for each index; the first ones are the same however many are asked for.

    Returns:
        (B, draws) float64 on the CPU, multiples of 2^-53.
    """
    rows = _mix(_start(key) + _mix(indices.cpu().numpy().astype(np.uint64) * INCREMENT))
    columns = np.arange(1, draws + 1, dtype=np.uint64) * INCREMENT
    words = _mix(rows[:, None] + columns[None, :])
    return torch.from_numpy((words >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def permutation(key: tuple[int | str, ...], n: int) -> Tensor:
    """The numbers 0 to n - 1 in random order: (n,) int64."""
    return uniform(key, torch.arange(n), 1)[:, 0].argsort(stable=True)


def stream_seed(key: tuple[int | str, ...]) -> int:
    """A seed in [0, 2^63) for a random source that needs one."""
    return int(_start(key)[0]) >> 1


def _start(key: tuple[int | str, ...]) -> Words:
    """The first 64 bits of the key's SHA-256. JSON tells 1 from "1" and ("ab",) from ("a", "b")."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return np.frombuffer(digest[:8], dtype="<u8").astype(np.uint64)


def _mix(words: Words) -> Words:
    """A bijection of 64-bit words that changes half of the bits whichever bit changes."""
    words = (words ^ (words >> np.uint64(30))) * MULTIPLIERS[0]
    words = (words ^ (words >> np.uint64(27))) * MULTIPLIERS[1]
    return words ^ (words >> np.uint64(31))
