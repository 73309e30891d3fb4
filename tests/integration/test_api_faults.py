"""What the API answers while things around it are broken, and what every answer carries."""

import contextlib
import errno
import os
import socket
import threading
import time

import httpx
import pytest
import redis

from tests.valkeys import mortal_valkey
from workers.files import DataFolder
from workers.settings import Settings
from workers.store import Store


@pytest.fixture(scope="module")
def silent_redis():
    """An address where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    held.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in held:
            connection.close()


@pytest.fixture(params=["down", "silent"])
def lonely_api(request, tmp_path, silent_redis, running_server):
    """A service whose Redis is away, or there but mute."""
    url = silent_redis if request.param == "silent" else "redis://127.0.0.1:1"
    settings = Settings(
        data=tmp_path / "data", redis_url=url, allowed_roots=[tmp_path], reap_seconds=600
    )
    with (
        running_server(settings) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        yield client


def test_without_redis_the_answer_is_503_within_3_seconds(lonely_api, tmp_path):
    source = {"kind": "folder", "path": str(tmp_path)}
    calls = [
        ("GET", "/v1/jobs", {}),
        ("GET", "/v1/jobs/job_0", {}),
        ("GET", "/readyz", {}),
        ("POST", "/v1/datasets", {"json": {"source": source}}),
        ("POST", "/v1/datasets", {"files": {"files": ("a.jpg", b"x")}}),
        ("POST", "/v1/jobs", {"json": {"source": source, "classes": ["a", "b"]}}),
        ("POST", "/v1/jobs/job_0/cancel", {}),
    ]
    for method, path, content in calls:
        started = time.monotonic()
        reply = lonely_api.request(method, path, **content)

        assert time.monotonic() - started < 3, path
        assert (reply.status_code, reply.json()["code"]) == (503, "redis_unavailable"), path
        assert int(reply.headers["retry-after"]) > 0
    assert lonely_api.get("/livez").json() == {"status": "ok"}
    folder = DataFolder(tmp_path / "data")
    assert not any(folder.datasets.iterdir())
    assert not any(folder.jobs.iterdir())


def test_a_full_disk_is_507_and_leaves_nothing(api, monkeypatch):
    def full(*_, **_more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("workers.files.write_durably", full)

    folder = {"source": {"kind": "folder", "path": str(api.root)}}
    replies = [
        api.post("/v1/datasets", json=folder),
        api.post("/v1/datasets", files={"files": ("a.jpg", b"x")}),
        api.post("/v1/jobs", json={**folder, "classes": ["a", "b"]}),
    ]

    assert {reply.status_code for reply in replies} == {507}
    assert {reply.json()["code"] for reply in replies} == {"disk_full"}
    assert api.get("/v1/datasets").json()["data"] == []
    assert not list(api.folder.staging_root.glob("upload-*"))


def test_a_fault_of_our_own_is_500_without_a_trace(api, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("secret /path/inside")

    monkeypatch.setattr(Store, "list", broken)

    reply = api.get("/v1/jobs", headers={"X-Request-ID": "mine-1"})

    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (500, "internal_error")
    assert problem["request_id"] == reply.headers["x-request-id"] == "mine-1"
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in reply.text


def test_an_unwritable_data_folder_is_not_ready(api, monkeypatch):
    assert api.get("/readyz").json() == {"status": "ok"}
    monkeypatch.setattr("os.access", lambda *_: False)

    reply = api.get("/readyz")

    assert (reply.status_code, reply.json()["code"]) == (503, "service_not_ready")


@pytest.mark.parametrize("path", ["/livez", "/v1/jobs", "/nothing", "/openapi.json"])
def test_every_answer_has_an_id_and_protects_the_browser(api, path):
    first, second = api.get(path), api.get(path)

    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in first.headers["content-security-policy"]


@pytest.mark.parametrize("given", ["a b", "x" * 65, "é"])
def test_an_odd_request_id_is_replaced(api, given):
    reply = api.get("/livez", headers={"X-Request-ID": given.encode()})

    assert reply.headers["x-request-id"].startswith("req_")


def test_every_code_has_a_page(api):
    listed = api.get("/problems").json()["data"]

    assert len(listed) > 20
    for row in listed:
        assert api.get(f"/problems/{row['code']}").json() == row
        assert row["explanation"].endswith(".")


def test_a_silent_client_does_not_hold_up_others(api):
    host, port = api.base_url.host, api.base_url.port
    idle = [socket.create_connection((host, port)) for _ in range(50)]
    for connection in idle:
        connection.sendall(b"POST /v1/datasets HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")

    assert api.get("/v1/jobs").status_code == 200
    for connection in idle:
        connection.close()


def test_nothing_is_left_of_what_a_store_that_only_reads_refused(tmp_path, running_server):
    with mortal_valkey() as store, redis.Redis.from_url(store.url) as admin:
        settings = Settings(data=tmp_path / "data", redis_url=store.url, allowed_roots=[tmp_path])
        with running_server(settings) as server:
            admin.execute_command("REPLICAOF", "127.0.0.1", "1")
            source = {"kind": "folder", "path": str(tmp_path)}
            reply = httpx.post(f"{server.url}/v1/datasets", json={"source": source}, timeout=20)

    assert (reply.status_code, reply.json()["code"]) == (503, "redis_unavailable")
    assert list(DataFolder(settings.data).datasets.iterdir()) == []
