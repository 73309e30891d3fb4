"""The user's own file of keys, and the first key of a new service."""

import json
import stat

import pytest

from app.callers import Scope
from app.credentials import forget_key, keep_key
from app.first_key import give_first_key
from app.keys import KeyStore
from ccd_client.credentials import credentials_file, service_key, stored_keys
from workers.files import DataFolder

URL = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("CCD_CREDENTIALS", str(tmp_path / "user" / "credentials.json"))
    monkeypatch.delenv("CCD_API_KEY", raising=False)
    return tmp_path / "user" / "credentials.json"


@pytest.fixture
def data(tmp_path):
    return DataFolder(tmp_path / "data")


def test_it_lies_where_users_expect_it_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("CCD_CREDENTIALS")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert credentials_file() == tmp_path / ".config" / "ccd" / "credentials.json"


def test_a_key_is_kept_for_an_address_and_for_the_user_alone(file):
    keep_key("https://ccd.example.org/", "k1")
    keep_key(URL, "k2")

    assert json.loads(file.read_text()) == {"https://ccd.example.org": "k1", URL: "k2"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert service_key("https://ccd.example.org") == "k1"
    assert service_key("http://localhost:8000/") == "k2"
    assert service_key("http://127.0.0.1:8001") is None


def test_the_environment_goes_before_the_file(monkeypatch):
    keep_key(URL, "kept")
    monkeypatch.setenv("CCD_API_KEY", "given")

    assert service_key(URL) == "given"


def test_a_service_of_this_machine_that_moved_leaves_no_address_behind():
    keep_key("http://ccd.example.org", "k")
    keep_key("http://127.0.0.1:4000", "k")
    keep_key("http://127.0.0.1:5000", "other")
    keep_key("http://127.0.0.1:6000", "k")

    assert stored_keys() == {
        "http://ccd.example.org": "k",
        "http://127.0.0.1:5000": "other",
        "http://127.0.0.1:6000": "k",
    }


def test_a_key_that_is_forgotten_takes_no_other_with_it():
    keep_key(URL, "mine")
    keep_key("http://ccd.example.org", "k")

    forget_key(URL, "another")
    assert stored_keys()[URL] == "mine"
    forget_key(URL, "mine")
    assert stored_keys() == {"http://ccd.example.org": "k"}


@pytest.mark.parametrize("content", ["", "[]", "null", '{"a": 1}', "\x00"])
def test_a_file_that_is_none_holds_no_keys(file, content):
    file.parent.mkdir()
    file.write_text(content)

    assert stored_keys() == {}
    assert service_key("a") is None


def test_a_new_service_tells_its_first_key_once_and_keeps_it(data):
    said = []

    give_first_key(data, URL, said.append)
    give_first_key(data, URL, said.append)

    token = stored_keys()[URL]
    assert sum(token in line for line in said) == 1
    assert KeyStore(data).find(token).scopes == (Scope.ADMIN,)
    assert len(KeyStore(data).list()) == 1


def test_at_another_port_the_key_is_found_again(data):
    give_first_key(data, URL, lambda _: None)
    token, said = stored_keys()[URL], []

    give_first_key(data, "http://127.0.0.1:9000", said.append)

    assert stored_keys() == {"http://127.0.0.1:9000": token}
    assert not any(token in line for line in said)


def test_where_somebody_else_has_the_key_none_is_made(data, file):
    give_first_key(data, URL, lambda _: None)
    file.unlink()
    said = []

    give_first_key(data, URL, said.append)

    assert said == []
    assert len(KeyStore(data).list()) == 1


def test_where_the_last_admin_was_revoked_there_is_a_way_back_in(data):
    give_first_key(data, URL, lambda _: None)
    first = stored_keys()[URL]
    KeyStore(data).revoke(first.partition(".")[0])

    give_first_key(data, URL, lambda _: None)

    assert stored_keys()[URL] != first


def test_a_key_that_cannot_be_kept_is_told_all_the_same(data, file, monkeypatch):
    blocked = file.parent / "file"
    blocked.parent.mkdir()
    blocked.touch()
    monkeypatch.setenv("CCD_CREDENTIALS", str(blocked / "credentials.json"))
    said = []

    give_first_key(data, URL, said.append)

    assert KeyStore(data).find(said[0].rpartition(" ")[2])
    assert "could not be kept" in said[1]
