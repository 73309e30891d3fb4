"""The real scripts on a clock that a test moves, over a line that a test breaks."""

import redis

from workers.lua import read_scripts
from workers.store import Store

ATTEMPTS = 3
LEASE = 60
SYSTEM_CLOCK = "redis.call('TIME')"
OWN_CLOCK = """(function()
  local ms = tonumber(redis.call('GET', 'test:clock'))
  return {math.floor(ms / 1000), ms % 1000 * 1000}
end)()"""


class LineBroken(redis.ConnectionError):
    """The call did not arrive, or its answer was lost: the caller cannot know."""


class LooseStore(Store):
    """The real scripts on a clock that a test moves, over a line that breaks when told so."""

    def __init__(self, client: redis.Redis, **settings: float) -> None:
        super().__init__(client, max_attempts=ATTEMPTS, lease_seconds=LEASE, **settings)
        #: "before" or "after": a call never arrives, or it does and its answer is lost.
        self.breaks: str | None = None
        #: How many calls are answered before that one.
        self.answered = 0
        texts = read_scripts()
        assert all(text.count(SYSTEM_CLOCK) == 1 for text in texts.values())
        self._scripts = {
            name: client.register_script(text.replace(SYSTEM_CLOCK, OWN_CLOCK))
            for name, text in texts.items()
        }

    def set_clock(self, seconds: float) -> None:
        self.redis.set("test:clock", round(seconds * 1000))

    def _run(self, script, *args):
        breaks = self._break_now() if self.breaks else None
        if breaks == "before":
            raise LineBroken("the line broke before the call")
        answer = super()._run(script, *args)
        if breaks == "after":
            raise LineBroken("the line broke before the answer")
        return answer

    def _break_now(self) -> str | None:
        if self.answered:
            self.answered -= 1
            return None
        breaks, self.breaks = self.breaks, None
        return breaks
