"""A Redis that may throw records out to make room is refused on every connection that opens."""

from typing import Any

import redis

#: The only policy under which Redis keeps what it has acknowledged.
SAFE_POLICY = "noeviction"
REMEDY = (
    f"redis-cli CONFIG SET maxmemory-policy {SAFE_POLICY}, and the same in its configuration file"
)


class UnsafeRedis(redis.RedisError):
    """Redis answers, but would delete records of jobs when its memory is full."""

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"Redis has maxmemory-policy {policy}: once its memory is full it deletes records of "
            f"jobs without a word; it must have {SAFE_POLICY}. Run: {REMEDY}"
        )
        self.policy = policy


def connect_safely(connection: Any) -> None:
    """The `redis_connect_func` of a client: so a Redis is checked whenever it comes or comes back.

    INFO tells the policy also where CONFIG is not allowed. A user who may not call INFO either is
    trusted, since nothing can be known.

    Raises:
        UnsafeRedis: it would throw records out.
    """
    # Not `on_connect`: it asks for the health of the connection, which opens a connection where
    # there is none, without end if somebody in between takes each and closes it again.
    connection.on_connect_check_health(check_health=False)
    try:
        connection.send_command("INFO", "memory", check_health=False)
        reply = connection.read_response()
    except redis.exceptions.NoPermissionError:
        return
    policy = policy_of(reply)
    if policy not in {None, SAFE_POLICY}:
        raise UnsafeRedis(str(policy))


def policy_of(info: str | bytes) -> str | None:
    """The eviction policy that the text of INFO tells, if it tells one."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    fields = dict(line.partition(":")[::2] for line in text.splitlines())
    return fields.get("maxmemory_policy")
