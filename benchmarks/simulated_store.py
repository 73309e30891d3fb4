"""The real store on a clock that a simulation moves; Redis times every script."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import redis

from workers.lua import read_scripts
from workers.store import Store

SYSTEM_CLOCK = "redis.call('TIME')"
GIVEN_CLOCK = "SETTINGS.clock"
#: Calls between two looks at the times that Redis has taken.
TIMED_CALLS = 1000
#: Microseconds from which on Redis notes them: below it lie the commands inside of scripts. A
#: script that took less counts as much.
LEAST_NOTED = 20


class SimulatedStore(Store):
    """The scripts as they are, but for where they take the time from."""

    def __init__(self, client: redis.Redis, **settings: Any) -> None:
        super().__init__(client, **settings)
        texts = read_scripts()
        assert all(text.count(SYSTEM_CLOCK) == 1 for text in texts.values())
        self._scripts = {
            name: client.register_script(text.replace(SYSTEM_CLOCK, GIVEN_CLOCK))
            for name, text in texts.items()
        }
        self._settled = json.loads(self._constants)
        #: Seconds of the simulation.
        self.now = 0.0
        #: Script -> microseconds of each call inside of Redis, as of the last look.
        self.times_seen: dict[str, list[int]] = defaultdict(list)
        self._untimed: Counter[str] = Counter()
        client.config_set("slowlog-log-slower-than", LEAST_NOTED)
        client.config_set("slowlog-max-len", 3 * TIMED_CALLS)
        client.slowlog_reset()

    def _run(self, script: str, *args: str | float) -> Any:
        milliseconds = round(self.now * 1000)
        clock = [milliseconds // 1000, milliseconds % 1000 * 1000]
        constants = json.dumps({"clock": clock} | self._settled)
        self._untimed[script] += 1
        answer = self._scripts[script](args=[constants, *args])
        if self._untimed.total() == TIMED_CALLS:
            self.read_times()
        return answer

    def read_times(self) -> None:
        """Look at what Redis has timed since the last look."""
        names = {script.sha: name for name, script in self._scripts.items()}
        for call in self.redis.slowlog_get(3 * TIMED_CALLS):
            command, *words = call["command"].split(maxsplit=2)
            if command == b"EVALSHA":
                name = names[words[0].decode()]
                self.times_seen[name].append(call["duration"])
                self._untimed[name] -= 1
        self.redis.slowlog_reset()
        for name, calls in self._untimed.items():
            self.times_seen[name] += [LEAST_NOTED] * calls
        self._untimed.clear()
