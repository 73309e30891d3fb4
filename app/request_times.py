"""How many requests this process has answered, with which status, and how long they took."""

import math
import threading
from bisect import bisect_left
from itertools import accumulate

#: Upper bounds in seconds. What the service promises lies among them; the last are for files.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, math.inf)


class RequestTimes:
    """Counts by method and route. A route is a template, so there are as many as there are calls.

    Of one process alone: Prometheus asks each at its own address.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[tuple[str, str, int], int] = {}
        self._buckets: dict[tuple[str, str], list[int]] = {}
        self._seconds: dict[tuple[str, str], float] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        call, ended = (method, route), (method, route, status)
        with self._lock:
            self._statuses[ended] = self._statuses.get(ended, 0) + 1
            buckets = self._buckets.setdefault(call, [0] * len(BOUNDS))
            buckets[bisect_left(BOUNDS, seconds)] += 1
            self._seconds[call] = self._seconds.get(call, 0.0) + seconds

    def statuses(self) -> dict[tuple[str, str, int], int]:
        """(method, route, status) -> requests."""
        with self._lock:
            return dict(self._statuses)

    def durations(self) -> dict[tuple[str, str], tuple[dict[float, int], float]]:
        """(method, route) -> requests at or under each bound, and the sum of their seconds."""
        with self._lock:
            return {
                call: (dict(zip(BOUNDS, accumulate(buckets), strict=True)), self._seconds[call])
                for call, buckets in self._buckets.items()
            }
