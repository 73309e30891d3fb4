"""Rate limits, quotas and the audit log, as those who call meet them; secrets stay secret."""

from functools import partial

import pytest

from app.callers import Scope
from app.keys import KeyStore
from tests.integration.conftest import Api
from tests.serving import RunningServer, wait_until
from tests.store_calls import submit
from tests.streams import Stream
from workers.files import DataFolder
from workers.jobs import JobError, Lane
from workers.settings import Settings

WRONG = "Bearer key_" + "0" * 22 + "." + "A" * 43


@pytest.fixture
def limited(api_settings, store, tmp_path):
    """To start a service with limits of one's own; gives a client with a key, and its token."""
    opened = []

    def limited(project="ours", **settings):
        own = {"data": tmp_path / "data", "auth": True, **settings}
        server = RunningServer(Settings(**{**api_settings.model_dump(), **own}))
        opened.append(server.__enter__())
        folder = DataFolder(tmp_path / "data")
        _, token = KeyStore(folder).create("x", [Scope.ADMIN], project=project)
        root = api_settings.allowed_roots[0] / "photos"
        client = Api(server.url, Settings(**{**api_settings.model_dump(), **own}), store, root)
        client.headers["Authorization"] = f"Bearer {token}"
        opened.append(client)
        return client

    yield limited
    for one in reversed(opened):
        one.__exit__(None, None, None)


def stream(client, job_id, key):
    return Stream(f"{client.base_url}/v1/jobs/{job_id}/events", headers={"Authorization": key})


def entries(client, **wanted):
    found = client.get("/v1/audit", params={"limit": 1000}).json()["data"]
    return [entry for entry in found if wanted.items() <= entry.items()]


# ---------------------------------------------------------------------- requests


def test_a_key_has_so_many_streams_open_and_no_more(limited):
    client = limited(max_streams_per_key=2)
    job_id = client.new_job()
    one_more = partial(stream, client, job_id, client.headers["Authorization"])
    _, other = KeyStore(client.folder).create("y", [Scope.READ], project="ours")

    with one_more() as first, one_more() as second, one_more() as third:
        assert [one.status for one in (first, second, third)] == [200, 200, 429]
        assert int(third.headers["retry-after"]) > 0
        assert client.get(f"/v1/jobs/{job_id}/events").status_code == 200  # a page is no stream
        with stream(client, job_id, f"Bearer {other}") as others:
            assert others.status == 200

    def is_open():
        with one_more() as again:
            return again.status == 200

    assert wait_until(is_open)


def test_a_key_that_calls_too_often_is_told_when_to_come_back(limited):
    client = limited(rate_requests=0.1, rate_burst=3)

    replies = [client.get("/v1/jobs") for _ in range(5)]

    assert [reply.status_code for reply in replies] == [200, 200, 200, 429, 429]
    assert [reply.headers["ratelimit"].split(";")[1] for reply in replies[:3]] == [
        "r=2",
        "r=1",
        "r=0",
    ]
    late = replies[3]
    assert late.headers["ratelimit-policy"] == '"requests";q=3;w=30'
    assert 0 < int(late.headers["retry-after"]) <= 10
    assert (late.json()["code"], late.headers["content-type"]) == (
        "rate_limited",
        "application/problem+json",
    )
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


def test_another_key_has_its_own_share_of_calls(limited):
    client = limited(rate_requests=0.1, rate_burst=1)
    other = KeyStore(client.folder).create("y", [Scope.READ])[1]
    assert [client.get("/v1/jobs").status_code for _ in range(2)] == [200, 429]

    reply = client.get("/v1/jobs", headers={"Authorization": f"Bearer {other}"})

    assert reply.status_code == 200


def test_where_there_is_no_limit_none_is_told(limited):
    assert "ratelimit" not in limited().get("/v1/jobs").headers


def test_guesses_are_slowed_and_hold_up_nobody_who_has_a_key(limited):
    client = limited(rate_failures=3)
    late = KeyStore(client.folder).create("y", [Scope.READ])[1]
    assert client.get("/v1/jobs").status_code == 200

    guesses = [client.get("/v1/jobs", headers={"Authorization": WRONG}) for _ in range(5)]

    assert [guess.status_code for guess in guesses] == [401, 401, 401, 429, 429]
    assert int(guesses[-1].headers["retry-after"]) > 0
    assert client.get("/v1/jobs").status_code == 200
    unseen = client.get("/v1/jobs", headers={"Authorization": f"Bearer {late}"})
    assert unseen.status_code == 200  # that others are wrong from here is not its fault


def test_an_address_that_a_client_makes_up_is_not_believed(limited):
    client = limited(rate_failures=2)

    statuses = [
        client.get(
            "/v1/jobs", headers={"Authorization": WRONG, "X-Forwarded-For": f"10.0.0.{n}"}
        ).status_code
        for n in range(3)
    ]

    assert statuses == [401, 401, 429]


def test_an_address_that_a_trusted_proxy_tells_is_taken(limited):
    client = limited(rate_failures=2, trusted_proxies=("127.0.0.1",))

    for n in range(3):
        header = {"Authorization": WRONG, "X-Forwarded-For": f"10.0.0.{n}"}
        assert client.get("/v1/jobs", headers=header).status_code == 401

    assert {entry["address"] for entry in entries(client, status=401)} == {
        "10.0.0.0",
        "10.0.0.1",
        "10.0.0.2",
    }


# ---------------------------------------------------------------------- quotas


def used(client):
    return {name: quota["used"] for name, quota in client.get("/v1/usage").json()["quotas"].items()}


def test_a_project_has_so_many_jobs_at_a_time_and_no_more(limited):
    client = limited(quota_jobs=2)
    dataset_id = client.new_dataset()
    body = {"dataset_id": dataset_id, "classes": ["a", "b"], "preset": "tiny"}
    first, second = (client.post("/v1/jobs", json=body).json()["id"] for _ in range(2))

    refused = client.post("/v1/jobs", json=body)

    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert "2 of 2 jobs" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) > 0
    assert {path.name for path in client.folder.jobs.iterdir()} == {first, second}
    client.post(f"/v1/jobs/{first}/cancel")
    assert used(client)["jobs"] == 1
    assert client.post("/v1/jobs", json=body).status_code == 202


def lines_run(store, call):
    """How many commands Redis ran for a call, those of its scripts among them."""
    before, _ = store.redis.info("commandstats"), call()
    after = store.redis.info("commandstats")
    asked = sum(found["calls"] for found in after.values())
    return asked - sum(found["calls"] for found in before.values())


@pytest.mark.parametrize("quotas", [{}, {"jobs": 1000}])
def test_a_job_costs_the_same_however_many_wait(store, quotas):
    def one(number):
        submit(store, f"job_{number}", project="ours", quotas=quotas)

    one(0)
    first = lines_run(store, lambda: one(1))
    for number in range(2, 400):
        one(number)

    assert lines_run(store, lambda: one(400)) < first + 200


def test_uploads_of_a_project_have_so_many_bytes_and_no_more(limited):
    client = limited(quota_bytes=1000)

    first = client.post("/v1/datasets", files={"files": ("a.jpg", b"x" * 600)})
    second = client.post("/v1/datasets", files={"files": ("b.jpg", b"x" * 600)})

    assert (first.status_code, second.status_code) == (202, 429)
    assert second.json()["code"] == "quota_exceeded"
    assert used(client)["bytes"] == 600
    claim = client.store.claim(Lane.IO, worker="w", nonce="n")
    client.store.fail(claim, JobError("no_images", "register", "none"))
    assert client.delete(f"/v1/datasets/{first.json()['id']}").is_success
    assert used(client)["bytes"] == 0


def test_datasets_of_a_project_have_so_many_images_and_no_more(limited):
    client = limited(quota_images=7)
    dataset_id = client.new_dataset()
    assert used(client)["images"] == 5  # as many as a worker accepted
    assert client.post("/v1/datasets", files={"files": ("a.jpg", b"x")}).status_code == 202

    many = [("files", (f"{n}.jpg", b"x")) for n in range(3)]
    assert client.post("/v1/datasets", files=many).json()["code"] == "quota_exceeded"
    assert client.delete(f"/v1/datasets/{dataset_id}").is_success
    assert used(client)["images"] == 0
    assert client.post("/v1/datasets", files=many).status_code == 202


def test_what_was_stored_before_anybody_counted_is_counted(limited, store):
    client = limited(project="default")
    client.new_dataset()
    store.redis.delete("ccd:usage:default")

    assert used(client)["images"] == 5


def test_the_quota_of_a_project_is_no_others(limited):
    client = limited(quota_jobs=1)
    _, token = KeyStore(client.folder).create("y", [Scope.WRITE], project="theirs")
    client.new_job()

    usage = client.get("/v1/usage", headers={"Authorization": f"Bearer {token}"}).json()

    assert usage["project"] == "theirs"
    assert usage["quotas"]["jobs"] == {"used": 0, "limit": 1}
    assert used(client)["jobs"] == 1


# ---------------------------------------------------------------------- audit


def test_every_change_has_a_line_with_who_what_and_how_it_went(limited):
    client = limited()
    key_id = client.get("/v1/keys/current").json()["id"]
    dataset_id = client.new_dataset()

    reply = client.delete(f"/v1/datasets/{dataset_id}")

    [made] = entries(client, operation="create_dataset")
    [gone] = entries(client, operation="delete_dataset")
    assert (made["record_id"], made["outcome"]) == (dataset_id, "done")
    assert gone | {"at": ""} == {
        "at": "",
        "key_id": key_id,
        "claimed_key_id": None,
        "project": "ours",
        "operation": "delete_dataset",
        "method": "DELETE",
        "path": f"/v1/datasets/{dataset_id}",
        "record_id": dataset_id,
        "status": 200,
        "outcome": "done",
        "request_id": reply.headers["x-request-id"],
        "address": "127.0.0.1",
    }


def test_a_call_that_was_denied_has_a_line_and_a_look_has_none(limited):
    client = limited()
    reader = KeyStore(client.folder).create("r", [Scope.READ])[1]
    client.get("/v1/jobs")
    client.get("/v1/jobs", headers={"Authorization": WRONG})
    client.post("/v1/jobs", json={}, headers={"Authorization": f"Bearer {reader}"})
    client.post("/v1/jobs", json={})

    found = [(one["status"], one["outcome"]) for one in entries(client, path="/v1/jobs")]
    assert found == [(422, "refused"), (403, "denied"), (401, "denied")]
    [guess] = entries(client, status=401)
    assert (guess["key_id"], guess["claimed_key_id"]) == (None, "key_" + "0" * 22)


def test_a_flood_leaves_one_line(limited):
    client = limited(rate_failures=1)
    client.get("/v1/jobs")
    for _ in range(10):
        client.get("/v1/jobs", headers={"Authorization": WRONG})

    assert [len(entries(client, status=status)) for status in (401, 429)] == [1, 1]


# ---------------------------------------------------------------------- secrets


def test_no_secret_is_in_any_log_or_file_of_the_service(limited, capfd):
    client = limited(rate_failures=3)
    token = client.headers["authorization"].partition(" ")[2]
    made = client.post("/v1/keys", json={"name": "x", "scopes": ["write"]}).json()["secret"]
    rotated = client.post(f"/v1/keys/{made.partition('.')[0]}/rotate").json()["secret"]
    client.new_dataset()
    for secret in (token, made, rotated):
        client.get(f"/v1/jobs/{secret}", params={"key": secret})
        client.post(f"/v1/keys/{secret}/rotate")
        client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}x"})
        client.post("/v1/jobs", content=b"{", headers={"X-Request-ID": "r"})
    client.get("/v1/jobs/x", headers={"Authorization": f"Basic {token}"})
    said = "".join(capfd.readouterr())
    files = [path for path in client.folder.root.rglob("*") if path.is_file()]

    assert "request.answered" in said
    assert any(path.parent == client.folder.audit for path in files)
    for secret in (one.partition(".")[2] for one in (token, made, rotated)):
        assert secret not in said
        assert not any(secret.encode() in path.read_bytes() for path in files)
