"""Keys over HTTP and by command: made, shown once, rotated and revoked."""

import json
from itertools import islice

import httpx
import pytest
from typer.testing import CliRunner

from app import event_stream
from app import keys as app_keys
from app.callers import Scope
from app.cli import app
from app.keys import KeyStore
from tests.serving import Serve, wait_until
from workers import label_tables
from workers.files import DataFolder
from workers.label_tables import Labels

FIELDS = {
    *("id", "name", "project", "scopes", "created_by"),
    *("created_at", "expires_at", "rotated_at", "revoked_at", "last_used_at"),
}


@pytest.fixture
def admin(caller):
    return caller(Scope.ADMIN)


def make(admin, **fields):
    reply = admin.post("/v1/keys", json={"name": "pipeline", "scopes": ["write"], **fields})
    assert reply.status_code == 201, reply.text
    return reply.json()


def status(client, token, path="/v1/jobs"):
    return client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_new_key_is_shown_once_with_its_secret(admin):
    reply = admin.post("/v1/keys", json={"name": "nightly", "scopes": ["read", "write"]})
    key = reply.json()

    assert set(key) == FIELDS | {"secret"}
    assert reply.headers["location"] == f"/v1/keys/{key['id']}"
    assert reply.headers["cache-control"] == "no-store"
    assert (key["name"], key["project"], key["scopes"]) == ("nightly", "ours", ["read", "write"])
    assert key["secret"].startswith(f"{key['id']}.")
    seen = admin.get(f"/v1/keys/{key['id']}").json()
    assert seen == {name: value for name, value in key.items() if name != "secret"}
    assert seen in admin.get("/v1/keys").json()["data"]


def test_a_key_opens_its_project_and_knows_who_it_is(admin, caller):
    key = make(admin, project="streets", expires_in_days=1)
    client = caller()
    client.headers["Authorization"] = f"bearer {key['secret']}"  # in any case

    assert client.get("/v1/keys/current").json()["id"] == key["id"]
    dataset_id = client.new_dataset()
    assert client.store.get(dataset_id).project == "streets"


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({}, "send a key"),
        ({"Authorization": ""}, "must be `Bearer"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "must be `Bearer"),
        ({"Authorization": "Bearer"}, "has no key"),
        ({"Authorization": "Bearer x"}, "has no key"),
        ({"Authorization": "Bearer key_x." + "A" * 43}, "copy it whole"),
        ({"Authorization": "Bearer \xff"}, "has no key"),
        ({"Authorization": "Bearer ../../keys/x." + "A" * 43}, "has no key"),
        ({"Authorization": "Bearer key_" + "0" * 22 + "." + "A" * 43}, "no key that is in force"),
        ({"X-Api-Key": "key_" + "0" * 22}, "send a key"),
    ],
)
def test_what_is_no_key_is_named_and_not_repeated(caller, header, told):
    raw = [(name.encode(), value.encode("latin-1")) for name, value in header.items()]
    reply = caller().get("/v1/jobs", headers=raw)

    assert reply.status_code == 401
    assert told in reply.json()["detail"]
    assert all(len(value) < 8 or value not in reply.text for value in header.values())


def test_two_keys_at_once_are_none(caller, admin):
    token = admin.headers["authorization"]
    reply = caller().get("/v1/jobs", headers=[("Authorization", token), ("Authorization", token)])

    assert reply.status_code == 401


def test_a_key_in_the_address_opens_nothing(caller, admin):
    token = admin.headers["authorization"].partition(" ")[2]

    assert caller().get("/v1/jobs", params={"key": token, "access_token": token}).is_client_error


def test_whoever_knows_the_id_alone_knows_nothing(admin, caller):
    key, other = make(admin), make(admin)
    guess = f"{key['id']}.{other['secret'].partition('.')[2]}"

    assert status(caller(), guess) == 401


def test_a_revoked_key_ends_at_once(admin, caller):
    key, client = make(admin), caller()
    assert status(client, key["secret"]) == 200

    revoked = admin.delete(f"/v1/keys/{key['id']}")

    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"]
    assert status(client, key["secret"]) == 401
    assert admin.post(f"/v1/keys/{key['id']}/rotate").json()["code"] == "key_ended"


@pytest.mark.parametrize(("method", "action"), [("DELETE", ""), ("POST", "/rotate")])
def test_a_stream_ends_with_the_secret_that_opened_it(admin, caller, monkeypatch, method, action):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.05)
    job_id = admin.new_job()
    key = make(admin)
    headers = {"Authorization": f"Bearer {key['secret']}", "Accept": "text/event-stream"}

    with caller().stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as reply:
        lines = reply.iter_lines()
        next(lines)
        admin.request(method, f"/v1/keys/{key['id']}{action}")

        assert len(list(islice(lines, 500))) < 500


def test_a_stream_goes_on_while_its_secret_has_grace(admin, caller, monkeypatch):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.05)
    job_id = admin.new_job()
    key = make(admin)
    headers = {"Authorization": f"Bearer {key['secret']}", "Accept": "text/event-stream"}

    with caller().stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as reply:
        lines = reply.iter_lines()
        next(lines)
        admin.post(f"/v1/keys/{key['id']}/rotate", json={"grace_seconds": 600})

        assert ": alive" in list(islice(lines, 30))[20:]


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
def test_a_stream_of_labels_breaks_off_with_its_key(admin, caller, monkeypatch, accept):
    job_id = admin.new_job()
    admin.run_until(job_id, "score")
    key, read = make(admin), Labels.read

    def revoking(labels, start, stop):
        if start == 2:
            KeyStore(admin.folder).revoke(key["id"])
        return read(labels, start, stop)

    monkeypatch.setattr(label_tables, "BATCH_ROWS", 1)
    monkeypatch.setattr(app_keys, "FRESH_SECONDS", 0)
    monkeypatch.setattr(Labels, "read", revoking)
    headers = {"Authorization": f"Bearer {key['secret']}", "Accept": accept}
    with (
        caller().stream("GET", f"/v1/jobs/{job_id}/labels", headers=headers) as reply,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        reply.read()


def test_a_key_that_another_process_revoked_ends_within_a_second(admin, caller):
    key, client = make(admin), caller()
    assert status(client, key["secret"]) == 200

    KeyStore(admin.folder).revoke(key["id"])

    wait_until(lambda: status(client, key["secret"]) == 401, seconds=3)


def test_a_rotated_key_changes_over_within_its_grace(admin, caller):
    key, client = make(admin), caller()

    reply = admin.post(f"/v1/keys/{key['id']}/rotate", json={"grace_seconds": 60}).json()

    assert set(reply) == FIELDS | {"secret"}
    assert [status(client, one["secret"]) for one in (key, reply)] == [200, 200]
    last = admin.post(f"/v1/keys/{key['id']}/rotate").json()
    assert [status(client, one["secret"]) for one in (key, reply, last)] == [401, 401, 200]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": ["read"]}, "/name"),
        ({"name": "x"}, "/scopes"),
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["all"]}, "/scopes/0"),
        ({"name": "x", "scopes": ["read"], "project": "a:b"}, "/project"),
        ({"name": "x", "scopes": ["read"], "expires_in_days": 0}, "/expires_in_days"),
        ({"name": "x", "scopes": ["read"], "id": "key_1"}, "/id"),
    ],
)
def test_a_wrong_wish_for_a_key_is_pointed_at(admin, body, pointer):
    reply = admin.post("/v1/keys", json=body)

    assert reply.status_code == 422
    assert [error["pointer"] for error in reply.json()["errors"]] == [pointer]


@pytest.mark.parametrize("id", ["key_0", "key_" + "0" * 22, "..%2f..%2fx"])
def test_a_key_that_is_not_there_is_not_found(admin, id):
    calls = [("GET", ""), ("DELETE", ""), ("POST", "/rotate")]
    replies = [admin.request(method, f"/v1/keys/{id}{more}") for method, more in calls]

    assert {reply.status_code for reply in replies} == {404}


def test_the_list_of_keys_has_pages(admin):
    made = [make(admin)["id"] for _ in range(3)]

    first = admin.get("/v1/keys", params={"limit": 2}).json()
    rest = admin.get("/v1/keys", params={"cursor": first["next_cursor"]}).json()

    listed = [key["id"] for key in first["data"] + rest["data"]]
    assert listed[:3] == made[::-1]
    assert len(listed) == len(set(listed))


def test_when_a_key_was_used_last_is_told_to_the_minute(admin, caller):
    key, client = make(admin), caller()

    assert status(client, key["secret"]) == 200

    path = f"/v1/keys/{key['id']}"
    first = wait_until(lambda: admin.get(path).json()["last_used_at"], seconds=5)
    assert status(client, key["secret"]) == 200
    assert admin.get(path).json()["last_used_at"] == first


def test_an_emptied_redis_makes_no_key_a_stranger(admin, store):
    store.redis.flushall()

    assert admin.get("/v1/keys/current").status_code == 200
    assert admin.get("/v1/jobs").json()["data"] == []


def test_a_damaged_key_is_refused_and_the_others_hold(admin, caller):
    key = make(admin)
    (admin.folder.keys / f"{key['id']}.json").write_text("{")

    assert status(caller(), key["secret"]) == 401
    assert admin.get("/v1/keys").status_code == 200


def test_without_keys_nobody_is_asked_and_nobody_has_one(api):
    assert api.get("/v1/workers").status_code == 200
    reply = api.get("/v1/keys/current")
    assert (reply.status_code, reply.json()["code"]) == (404, "key_not_found")


def ccd(*arguments):
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def new_user(tmp_path, monkeypatch):
    """That of a user who has no keys yet."""
    monkeypatch.setenv("CCD_AUTH", "true")
    monkeypatch.setenv("CCD_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.setenv("CCD_DATA", str(tmp_path / "data"))


def test_a_service_that_was_started_is_entered_with_the_key_that_it_told(
    new_user, tmp_path, monkeypatch
):
    service = Serve(tmp_path / "data", "--port", "0")
    try:
        url = service.wait_until_ready().url()
        told = [line for line in service.lines if "shown this once" in line]
        token = told[0].rpartition(" ")[2]
        assert json.loads((tmp_path / "credentials.json").read_text()) == {url: token}
        assert status(httpx, token, f"{url}/v1/keys/current") == 200
        assert httpx.get(f"{url}/v1/jobs").status_code == 401

        monkeypatch.setenv("CCD_URL", url)
        made = ccd("keys", "create", "ci", "--scope", "read")
        assert status(httpx, made.stdout.strip(), f"{url}/v1/jobs") == 200
        listed = json.loads(ccd("keys", "list", "--json").stdout)
        assert [key["name"] for key in listed] == ["ci", "first key"]
        assert ccd("keys", "revoke", listed[0]["id"]).exit_code == 0
        assert status(httpx, made.stdout.strip(), f"{url}/v1/jobs") == 401
        refused = ccd("keys", "list", "--key", made.stdout.strip())
        assert (refused.exit_code, refused.stdout) == (2, "")
    finally:
        service.end()
    logs = "".join(path.read_text() for path in (tmp_path / "data" / "logs").iterdir())
    assert token.partition(".")[2] not in logs


def test_keys_are_managed_in_the_data_folder_where_no_service_runs(new_user, tmp_path):
    keys = KeyStore(DataFolder(tmp_path / "data"))
    made = ccd("keys", "create", "ops", "--scope", "admin", "--local")
    token = made.stdout.strip()
    id = token.partition(".")[0]

    assert keys.find(token).scopes == (Scope.ADMIN,)
    rotated = ccd("keys", "rotate", id, "--local").stdout.strip()
    assert keys.find(token) is None
    assert keys.find(rotated)
    assert id in ccd("keys", "list", "--local").stdout
    assert ccd("keys", "revoke", id, "--local").exit_code == 0
    assert keys.find(rotated) is None
    again = ccd("keys", "rotate", id, "--local")
    assert (again.exit_code, again.stdout) == (2, "")
    wrong = ccd("keys", "create", "x", "--project", "a b", "--local")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "project" in wrong.stderr
