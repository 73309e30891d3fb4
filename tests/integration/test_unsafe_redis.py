"""A Redis that would throw records out is refused: at the start, and whenever it comes."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import redis

from tests.serving import ROOT, wait_until
from tests.valkeys import valkey
from workers.eviction import UnsafeRedis, policy_of
from workers.settings import Settings
from workers.store import connect


@pytest.fixture(scope="module")
def evicting():
    with valkey("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as url:
        yield url


@pytest.mark.parametrize("program", [["api"], ["worker", "--lane", "io"], ["serve"]])
def test_no_program_starts_with_it(program, evicting, tmp_path):
    environment = {"CCD_REDIS_URL": evicting, "CCD_DATA": str(tmp_path), "CCD_PORT": "1"}
    port = ["--port", "0"] if program[0] in {"api", "serve"} else []

    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", *program, *port],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert "maxmemory-policy allkeys-lru" in ended.stderr
    assert "CONFIG SET maxmemory-policy noeviction" in ended.stderr


def test_a_policy_that_is_put_right_is_taken(evicting):
    settings = Settings(redis_url=evicting)
    with connect(settings) as client, pytest.raises(UnsafeRedis, match="allkeys-lru"):
        client.ping()

    with redis.Redis.from_url(evicting) as admin, connect(settings) as client:
        admin.config_set("maxmemory-policy", "noeviction")
        assert client.ping()
        admin.config_set("maxmemory-policy", "allkeys-lru")


def test_info_tells_where_config_is_not_allowed(evicting):
    with redis.Redis.from_url(evicting) as admin:
        admin.acl_setuser(
            "app", enabled=True, nopass=True, categories=["+@all"], commands=["-config"], keys=["*"]
        )
    settings = Settings(redis_url=evicting.replace("unix://", "unix://app:x@"))

    with connect(settings) as client, pytest.raises(UnsafeRedis):
        client.ping()


def test_a_user_who_may_ask_nothing_is_trusted(evicting):
    with redis.Redis.from_url(evicting) as admin:
        admin.acl_setuser(
            "blind", enabled=True, nopass=True, categories=["+@all"], commands=["-info"], keys=["*"]
        )
    settings = Settings(redis_url=evicting.replace("unix://", "unix://blind:x@"))

    with connect(settings) as client:
        assert client.ping()


def test_the_api_checks_a_redis_that_comes_later(running_server, tmp_path):
    place = Path("/tmp") / f"ccd-late-{os.getpid()}.sock"
    settings = Settings(
        data=tmp_path / "data", redis_url=f"unix://{place}", allowed_roots=[], reap_seconds=600
    )
    with running_server(settings) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/readyz").json()["code"] == "redis_unavailable"

        with valkey("--maxmemory-policy", "volatile-ttl", socket=place) as url:
            refused = client.get("/v1/jobs")
            assert (refused.status_code, refused.json()["code"]) == (503, "redis_unsafe")
            assert "volatile-ttl" in client.get("/readyz").json()["detail"]

            with redis.Redis.from_url(url) as admin:
                admin.config_set("maxmemory-policy", "noeviction")
            wait_until(lambda: client.get("/readyz").status_code == 200)
            assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("# Memory\r\nused_memory:1\r\nmaxmemory_policy:allkeys-lru\r\n", "allkeys-lru"),
        (b"maxmemory_policy:noeviction\r\n", "noeviction"),
        ("# Memory\r\nused_memory:1\r\n", None),
    ],
)
def test_the_policy_is_read_out_of_info(text, policy):
    assert policy_of(text) == policy
