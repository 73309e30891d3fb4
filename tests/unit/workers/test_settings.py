"""Settings from the environment."""

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from workers.settings import Settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("CCD_")]:
        monkeypatch.delenv(name)


def test_nothing_set_means_the_documented_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings()

    assert settings.data == tmp_path / "ccd-data"
    assert settings.weights_folder == tmp_path / "ccd-data" / "weights"
    assert (settings.lease_seconds, settings.max_attempts) == (60, 3)
    assert settings.backoff_seconds == (30, 300)
    assert settings.allowed_roots == []
    assert settings.host == "127.0.0.1"
    assert settings.auth


def test_variables_override_defaults(monkeypatch, tmp_path):
    monkeypatch.setenv("CCD_WEIGHTS", str(tmp_path / "w"))
    monkeypatch.setenv("CCD_BACKOFF_SECONDS", "1,2.5,10")
    monkeypatch.setenv("CCD_REDIS_URL", "unix:///run/valkey.sock?db=1")

    settings = Settings()

    assert settings.weights_folder == tmp_path / "w"
    assert settings.backoff_seconds == (1, 2.5, 10)
    assert settings.redis_url == "unix:///run/valkey.sock?db=1"


def test_roots_are_separated_as_in_path_and_resolved_with_their_links(monkeypatch, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "scans").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    roots = [tmp_path / "photos", tmp_path / "link"]
    monkeypatch.setenv("CCD_ALLOWED_ROOTS", os.pathsep.join(map(str, roots)))

    assert Settings().allowed_roots == [tmp_path / "photos", tmp_path / "scans"]


def test_roots_may_also_be_given_as_paths(tmp_path):
    assert Settings(allowed_roots=[tmp_path]).allowed_roots == [tmp_path]


def test_a_root_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CCD_ALLOWED_ROOTS", str(tmp_path / "nowhere"))

    with pytest.raises(ValidationError, match=r"nowhere cannot be resolved .* name existing"):
        Settings()


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ValidationError, match=r"file is not a folder"):
        Settings(allowed_roots=[tmp_path / "file"])


def test_a_relative_data_folder_becomes_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert Settings(data=Path("here")).data == tmp_path / "here"


@pytest.mark.parametrize("url", ["http://example", "redis+socket:///run/valkey.sock", ""])
def test_a_redis_url_of_another_scheme_is_refused(url):
    with pytest.raises(ValidationError, match="must start with redis://, rediss://, unix://"):
        Settings(redis_url=url)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lease_seconds", 0),
        ("max_attempts", 0),
        ("backoff_seconds", ()),
        ("backoff_seconds", (1, -2)),
        ("max_bad_fraction", 1.5),
        ("port", 70000),
        ("device", "gpu"),
        ("log_format", "xml"),
        ("lease_seconds", float("nan")),
        ("stall_seconds", float("inf")),
    ],
)
def test_values_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        Settings(**{field: value})


def test_a_lease_must_outlive_a_missed_heartbeat():
    with pytest.raises(ValidationError, match=r"lease_seconds must be at least twice"):
        Settings(lease_seconds=3, heartbeat_seconds=2)


def test_shares_are_weights_by_name(monkeypatch):
    monkeypatch.setenv("CCD_SHARES", "ann=2, bob@x.org = 0.5,")

    assert Settings().shares == {"ann": 2, "bob@x.org": 0.5}


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ("ann", "'ann' must be name=weight"),
        ("=2", "'' names no submitter: 1 to 64 letters"),
        ("ann=2,ann=3", "ann is given twice"),
        ("ann=many", "the weight of ann must be a number, is 'many'"),
        ("ann=0", "the weight of ann must lie in [0.001, 1000], is 0"),
        ("ann=-1", "the weight of ann must lie in [0.001, 1000], is -1"),
        ("ann=inf", "the weight of ann must lie in [0.001, 1000], is inf"),
        ("ann=nan", "the weight of ann must lie in [0.001, 1000], is nan"),
        ("bob=1,an n=1", "'an n' names no submitter"),
    ],
)
def test_shares_that_are_none_are_refused_with_the_reason(monkeypatch, shares, reason):
    monkeypatch.setenv("CCD_SHARES", shares)

    with pytest.raises(ValidationError, match=re.escape(reason)):
        Settings()
