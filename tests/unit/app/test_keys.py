"""Keys in the data folder: what opens, until when, and what is left of a secret."""

import asyncio
import json
import re
import stat
from dataclasses import replace

import pytest

from app import keys as keys_module
from app.callers import Scope
from app.keys import DAY_MS, TOKEN, KeyEnded, KeyNotFound, KeyStore, form_fault
from workers.files import DataFolder


@pytest.fixture
def data(tmp_path):
    folder = DataFolder(tmp_path)
    folder.create()
    return folder


@pytest.fixture
def keys(data):
    return KeyStore(data)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only where it is told to."""
    now = [1_700_000_000_000]
    monkeypatch.setattr(keys_module, "now_ms", lambda: now[0])
    return now


def test_a_token_opens_its_key_and_nothing_else_does(keys):
    key, token = keys.create("mine", [Scope.WRITE], project="streets")
    other = keys.create("other", [Scope.READ])[1]

    assert TOKEN.fullmatch(token)
    assert keys.find(token) == key
    assert (key.project, key.scopes, key.created_by) == ("streets", (Scope.WRITE,), None)
    for wrong in (key.id, f"{key.id}.", f"{key.id}.{other.partition('.')[2]}", token + "x", ""):
        assert keys.find(wrong) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda token: token + "x", "has 22 and 44: copy it whole"),
        (lambda token: token[:-1], "has 22 and 42: copy it whole"),
        (lambda token: token.replace("key_", "key_0"), "has 23 and 43: copy it whole"),
        (lambda token: token[:-1] + "?", "characters that no key has"),
        (lambda token: token.partition(".")[0], "has no key"),
        (lambda token: token.partition(".")[2], "has no key"),
    ],
)
def test_a_key_that_was_not_copied_whole_is_told_so(keys, change, told):
    token = keys.create("mine", [Scope.WRITE])[1]

    fault = form_fault(change(token))

    assert told in fault
    assert "`key_` and 22 characters, a dot, a secret of 43" in fault
    assert token.partition(".")[2][:-1] not in fault


def test_two_secrets_are_never_the_same_and_have_256_bits(keys):
    secrets = {keys.create("x", [Scope.READ])[1].partition(".")[2] for _ in range(20)}

    assert len(secrets) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for secret in secrets)  # 6 bits each


def test_no_file_has_a_secret_and_none_but_the_owner_reads_it(keys, data):
    key, token = keys.create("x", [Scope.ADMIN])
    renewed = keys.rotate(key.id, grace_seconds=60)[1]
    files = [path for path in data.root.rglob("*") if path.is_file()]

    for text in (path.read_text() for path in files):
        assert token.partition(".")[2] not in text
        assert renewed.partition(".")[2] not in text
    assert stat.S_IMODE((data.keys / f"{key.id}.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(data.keys.stat().st_mode) == 0o700


def test_a_key_ends_when_its_time_is_over(keys, clock):
    _, token = keys.create("x", [Scope.READ], expires_in_days=1)

    clock[0] += DAY_MS - 1
    assert keys.find(token)
    clock[0] += 1
    assert keys.find(token) is None


def test_a_revoked_key_opens_nothing_and_stays_in_the_list(keys):
    key, token = keys.create("x", [Scope.READ])

    revoked = keys.revoke(key.id)

    assert keys.find(token) is None
    assert keys.list() == [revoked]
    assert keys.revoke(key.id) == revoked  # once more changes nothing
    with pytest.raises(KeyEnded):
        keys.rotate(key.id)


def test_after_a_rotation_the_old_secret_holds_for_the_grace_alone(keys, clock):
    key, old = keys.create("x", [Scope.READ])

    rotated, new = keys.rotate(key.id, grace_seconds=10)

    assert keys.find(old) == keys.find(new) == rotated
    clock[0] += 9_999
    assert keys.find(old)
    clock[0] += 1
    assert keys.find(old) is None
    assert keys.find(new)


def test_without_grace_the_old_secret_ends_at_once(keys):
    key, old = keys.create("x", [Scope.READ])

    new = keys.rotate(key.id)[1]

    assert keys.find(old) is None
    assert keys.find(new)


def fresh(keys, id):
    return asyncio.run(keys.fresh(id))


def test_another_process_sees_a_change_when_it_looks_again(keys, data):
    other = KeyStore(data)
    key, _ = keys.create("x", [Scope.READ])

    assert fresh(other, key.id) == key
    revoked = keys.revoke(key.id)
    assert fresh(other, key.id) == key  # for a second
    assert other.look(key.id) == fresh(other, key.id) == revoked


def test_all_who_ask_at_once_share_one_look(keys, monkeypatch):
    key, _ = keys.create("x", [Scope.READ])
    look, looks = keys.look, []
    monkeypatch.setattr(keys, "look", lambda name: looks.append(name) or look(name))

    async def ask():
        return await asyncio.gather(*(keys.fresh(key.id) for _ in range(100)))

    assert asyncio.run(ask()) == [key] * 100
    assert looks == [key.id]


def test_who_goes_away_takes_the_look_from_nobody(keys):
    key, _ = keys.create("x", [Scope.READ])

    async def ask():
        first, second = (asyncio.create_task(keys.fresh(key.id)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(ask()) == key


def test_a_key_that_did_not_change_is_not_read_again(keys, data, monkeypatch):
    key, _ = keys.create("x", [Scope.READ])
    keys.look(key.id)
    monkeypatch.setattr(keys_module, "read_json", None)

    assert keys.look(key.id) == key


def test_what_a_process_remembers_has_an_end(keys, monkeypatch):
    monkeypatch.setattr(keys_module, "MAX_REMEMBERED", 2)
    ids = [keys.create("x", [Scope.READ])[0].id for _ in range(3)]

    for id in ids:
        keys.look(id)

    monkeypatch.setattr(keys, "look", lambda _: "looked")
    assert [fresh(keys, id) == "looked" for id in ids] == [True, False, False]


@pytest.mark.parametrize("id", ["key_0", "../keys/x", "", "key_" + "0" * 22])
def test_a_key_that_is_not_there_is_not_found(keys, id):
    with pytest.raises(KeyNotFound):
        keys.get(id)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"id": "x", "scopes": ["all"]}'])
def test_a_damaged_key_opens_nothing(keys, data, content):
    key, token = keys.create("x", [Scope.READ])
    (data.keys / f"{key.id}.json").write_text(content)

    assert keys.find(token) is None
    assert keys.list() == []


def test_keys_of_a_newer_version_open_nothing(keys, data):
    """They may have a limit that this version does not know."""
    key, token = keys.create("x", [Scope.READ])
    file = data.keys / f"{key.id}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "only_from": "10.0.0.0/8"}))

    assert keys.find(token) is None


def test_only_a_key_in_force_with_all_scopes_makes_an_admin(keys):
    assert not keys.has_admin()
    keys.create("x", [Scope.WRITE])
    assert not keys.has_admin()
    key, _ = keys.create("y", [Scope.ADMIN])
    assert keys.has_admin()
    keys.revoke(key.id)
    assert not keys.has_admin()


def test_scopes_include_the_lesser_ones(keys):
    may = {
        given: {wanted for wanted in Scope if keys.create("x", [given])[0].caller.may(wanted)}
        for given in Scope
    }

    assert may == {
        Scope.READ: {Scope.READ},
        Scope.WRITE: {Scope.READ, Scope.WRITE},
        Scope.ADMIN: set(Scope),
    }


def test_a_rotation_that_never_was_leaves_no_empty_secret_that_opens(keys):
    key, _ = keys.create("x", [Scope.READ])

    assert not replace(key, previous_until_ms=2**60).opens("", 0)


def test_who_looks_again_pushes_nobody_out_of_memory(keys, monkeypatch):
    monkeypatch.setattr(keys_module, "MAX_REMEMBERED", 2)
    first, second = (keys.create(name, [Scope.READ])[0] for name in "ab")

    for key in (first, second, second):
        keys.look(key.id)

    monkeypatch.setattr(keys, "look", None)
    assert [fresh(keys, key.id) for key in (first, second)] == [first, second]


def test_a_key_that_was_made_for_a_moment_leaves_nothing(keys, data):
    key, token = keys.create("x", [Scope.READ])

    keys.forget(key.id)

    assert keys.find(token) is None
    assert list(data.keys.glob("key_*")) == []
