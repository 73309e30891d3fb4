"""What the API makes of a job store that refuses."""

import pytest
import redis

from app.errors import DOMAIN


def test_a_store_that_cannot_write_its_disk_is_unavailable():
    refusal = redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device")

    assert DOMAIN[redis.ResponseError](refusal).code == "redis_unavailable"


def test_a_command_that_the_store_does_not_know_is_our_mistake():
    with pytest.raises(redis.ResponseError, match="unknown command"):
        DOMAIN[redis.ResponseError](redis.ResponseError("unknown command 'FOO'"))
