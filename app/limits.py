"""Token buckets: how often one may call, and how often one may be wrong about a key.

They are this process's own: a call costs no question to Redis, and is answered while Redis is away.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Names whose buckets are remembered. Beyond it the one that was asked for first is forgotten.
MAX_REMEMBERED = 10_000


@dataclass(frozen=True)
class Standing:
    """What is left in a bucket."""

    is_allowed: bool
    remaining: int
    #: Seconds until it is full again.
    reset_seconds: int
    #: Seconds until there is one more.
    retry_seconds: int


class Buckets:
    """A bucket of `size` for each name, filled again at `rate` a second."""

    def __init__(self, rate: float, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.size, self._clock = rate, size, clock
        #: Name -> what was left, and when.
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> Standing:
        """Take one, if there is one."""
        level = self._level(name)
        is_allowed = level >= 1
        if is_allowed:
            level -= 1
        while len(self._levels) >= MAX_REMEMBERED and name not in self._levels:
            self._levels.pop(next(iter(self._levels)))
        self._levels[name] = (level, self._clock())
        return self._standing(level, is_allowed=is_allowed)

    def _level(self, name: str) -> float:
        level, at = self._levels.get(name, (float(self.size), 0.0))
        return min(float(self.size), level + (self._clock() - at) * self.rate)

    def _standing(self, level: float, *, is_allowed: bool) -> Standing:
        return Standing(
            is_allowed=is_allowed,
            remaining=math.floor(level),
            reset_seconds=math.ceil((self.size - level) / self.rate),
            retry_seconds=max(1, math.ceil((1 - level) / self.rate)),
        )

    def headers(self, standing: Standing) -> dict[str, str]:
        """The fields that tell a client where it stands."""
        window = math.ceil(self.size / self.rate)
        return {
            "RateLimit-Policy": f'"requests";q={self.size};w={window}',
            "RateLimit": f'"requests";r={standing.remaining};t={standing.reset_seconds}',
        }
