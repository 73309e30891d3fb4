"""When a call is made again, and after which pause."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ccd_client.errors import CcdError, Problem, ServiceUnreachable

#: The service, or a proxy before it, could not work on the call just then.
PASSING_STATUSES = frozenset({408, 502, 503, 504})
#: The same call is at work still.
IN_FLIGHT = "idempotency_in_flight"
#: Says that nothing was done, so that any call may be made again; a quota is no matter of seconds.
RATE_LIMITED = "rate_limited"


@dataclass(frozen=True)
class Patience:
    """How long a service that does not answer is asked again: it may be starting."""

    #: For one call, from its first failure on; 0 asks once.
    seconds: float = 60.0
    #: The same where nothing listens and nobody has answered yet: it may be the wrong address.
    refused_seconds: float = 5.0
    #: Pauses double from the first to the longest, each shortened by chance.
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 8.0
    #: Told the failure of a call that is made again, once however often it fails.
    on_retry: Callable[[CcdError], None] | None = None


class Tries:
    """The tries of one call."""

    def __init__(
        self,
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._patience, self._clock, self._chance = patience, clock, chance
        self.reset()

    def reset(self) -> None:
        """Something came: the next failure is a first one."""
        self._failures = 0
        #: When the first failures came, apart for those where nothing listens.
        self._since: dict[bool, float] = {}

    def pause_after(self, failure: CcdError, *, can_repeat: bool) -> float:
        """Seconds to wait before the next try.

        `can_repeat`: whether a call that was heard may be made again.

        Raises:
            CcdError: `failure`, where another try makes no sense or comes too late.
        """
        if not _is_passing(failure, can_repeat=can_repeat):
            raise failure
        now, is_refused = self._clock(), getattr(failure, "is_refused", False)
        patience = self._patience.seconds
        if is_refused:
            patience = min(patience, self._patience.refused_seconds)
        is_first = self._failures == 0
        pause = max(self._next_pause(), _asked_pause(failure))
        if now + pause > self._since.setdefault(is_refused, now) + patience:
            raise failure
        if is_first and self._patience.on_retry is not None:
            self._patience.on_retry(failure)
        return pause

    def _next_pause(self) -> float:
        longest = self._patience.longest_pause_seconds
        pause = min(longest, self._patience.first_pause_seconds * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        return pause * (0.5 + self._chance() / 2)


def _is_passing(failure: CcdError, *, can_repeat: bool) -> bool:
    if isinstance(failure, ServiceUnreachable):
        return can_repeat or not failure.was_sent
    if not isinstance(failure, Problem):
        return False
    if failure.code in {IN_FLIGHT, RATE_LIMITED}:
        return True
    return can_repeat and failure.status in PASSING_STATUSES


def _asked_pause(failure: CcdError) -> float:
    return (failure.retry_after or 0.0) if isinstance(failure, Problem) else 0.0
