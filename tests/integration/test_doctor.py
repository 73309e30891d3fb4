"""`ccd doctor` names what is wrong: each misconfiguration here is a real one."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from app.doctor.data import LOW_BYTES, check_data
from app.doctor.examine import as_json, check_job_store, examine
from app.doctor.findings import Level
from app.doctor.job_store import check_redis, check_workers
from app.doctor.machine import check_hardware, check_open_files, check_weights_folder
from app.doctor.roots import check_roots
from app.doctor.settings import check_faults, read_settings
from app.doctor.versions import as_numbers, check_versions
from app.standalone import runtime_folder
from tests.serving import ROOT, wait_until
from tests.valkeys import valkey
from workers.devices import Device
from workers.files import DataFolder
from workers.settings import Settings

NOBODY = 65534
ONE_FILE_SYSTEM = "data.one_file_system"


@pytest.fixture
def place():
    """A folder that any user can enter."""
    with tempfile.TemporaryDirectory(prefix="ccd-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def as_nobody():
    """root may write anywhere; what a user without rights finds is found by becoming one."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def asked(*options):
    """What is found about a server with these options."""
    with valkey(*options) as url:
        return list(check_redis(url))


# Each plants one misconfiguration and gives what the doctor finds.


def redis_away(place, monkeypatch):
    return check_redis("redis://:secret@127.0.0.1:1")


def evicting(place, monkeypatch):
    return asked("--maxmemory-policy", "allkeys-lru")


def no_append_only_file(place, monkeypatch):
    return asked("--appendonly", "no")


def no_fsync(place, monkeypatch):
    return asked("--appendfsync", "no")


def nearly_full(place, monkeypatch):
    with valkey() as url, redis.Redis.from_url(url) as admin:
        admin.set("much", bytes(5_000_000))
        admin.config_set("maxmemory", admin.info()["used_memory"] + 500_000)
        return list(check_redis(url))


def disk_not_written(place, monkeypatch):
    (place / "taken").mkdir()
    # Where its snapshot should go is a folder, which no file can replace.
    options = ("--dir", str(place), "--dbfilename", "taken")
    with valkey(*options) as url, redis.Redis.from_url(url) as admin:
        admin.bgsave()
        wait_until(lambda: admin.info()["rdb_last_bgsave_status"] == "err")
        return list(check_redis(url))


def replica(place, monkeypatch):
    return asked("--replicaof", "127.0.0.1", "1")


def clock_an_hour_off(place, monkeypatch):
    with valkey() as url:
        return list(check_redis(url, clock=lambda: time.time() - 3600))


def no_worker(place, monkeypatch):
    with valkey() as url:
        return list(check_workers(Settings(redis_url=url)))


def runtime_folder_open(place, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    settings = Settings(data=place / "data", redis_url=None)
    runtime_folder(settings.data).chmod(0o777)
    return check_job_store(settings)


def data_is_a_file(place, monkeypatch):
    (place / "data").write_text("no folder")
    return check_data(DataFolder(place / "data"))


def data_cannot_be_made(place, monkeypatch):
    place.chmod(0o555)
    with as_nobody():
        return list(check_data(DataFolder(place / "data")))


def data_not_writable(place, monkeypatch):
    folder = DataFolder(place / "data")
    folder.create()
    folder.staging_root.chmod(0o555)
    with as_nobody():
        return list(check_data(folder))


def staging_elsewhere(place, monkeypatch):
    folder = DataFolder(place / "data")
    folder.create()
    folder.staging_root.rmdir()
    folder.staging_root.symlink_to("/dev")  # a file system of its own, on Linux and on macOS
    # Only what comes before the trial of writing is asked for: none is to be made in there.
    return [next(finding for finding in check_data(folder) if finding.check == ONE_FILE_SYSTEM)]


def scarce(place, monkeypatch, what):
    """Every disk is too small for limits that no disk has."""
    for limit in (f"LOW_{what}", f"LOWEST_{what}"):
        monkeypatch.setattr(f"app.doctor.data.{limit}", 10**18)
    folder = DataFolder(place / "data")
    folder.create()
    return list(check_data(folder))


def disk_full(place, monkeypatch):
    return scarce(place, monkeypatch, "BYTES")


def no_inodes(place, monkeypatch):
    if not os.statvfs(place).f_files:
        pytest.skip("this file system does not count its inodes")
    return scarce(place, monkeypatch, "INODES")


def root_missing(place, monkeypatch):
    return check_roots(str(place / "gone"), place / "data")


def root_unreadable(place, monkeypatch):
    (place / "photos").mkdir(mode=0o000)
    with as_nobody():
        return list(check_roots(str(place / "photos"), place / "data"))


def root_is_a_link(place, monkeypatch):
    (place / "real").mkdir()
    (place / "photos").symlink_to("real")
    return check_roots(str(place / "photos"), place / "data")


def root_contains_the_data(place, monkeypatch):
    return check_roots(str(place), place / "data")


def root_in_the_data(place, monkeypatch):
    (place / "data" / "photos").mkdir(parents=True)
    return check_roots(str(place / "data" / "photos"), place / "data")


def links_lead_outside(place, monkeypatch):
    (place / "photos").mkdir()
    (place / "photos" / "passwd.jpg").symlink_to("/etc/passwd")
    return check_roots(str(place / "photos"), place / "data")


def old_pillow(place, monkeypatch):
    (place / "pillow-12.2.0.dist-info").mkdir()
    (place / "pillow-12.2.0.dist-info" / "METADATA").write_text("Name: pillow\nVersion: 12.2.0\n")
    monkeypatch.syspath_prepend(str(place))
    return list(check_versions())


def celery_not_tried(place, monkeypatch):
    (place / "celery-6.0.0.dist-info").mkdir()
    (place / "celery-6.0.0.dist-info" / "METADATA").write_text("Name: celery\nVersion: 6.0.0\n")
    monkeypatch.syspath_prepend(str(place))
    return list(check_versions())


def few_open_files(place, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        return [check_open_files()]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def weights_missing(place, monkeypatch):
    return [check_weights_folder(Settings(data=place, weights=place / "gone"))]


def wrong_setting(place, monkeypatch):
    monkeypatch.setenv("CCD_LEASE_SECONDS", "soon")
    return read_settings()[1]


def wrong_pair_of_settings(place, monkeypatch):
    monkeypatch.setenv("CCD_LEASE_SECONDS", "5")
    monkeypatch.setenv("CCD_HEARTBEAT_SECONDS", "4")
    return read_settings()[1]


def faults_put_in(place, monkeypatch):
    return check_faults(Settings(faults="unit.batch=kill"))


PLANTS = [
    (redis_away, "redis.reachable", "problem", "127.0.0.1:1 does not answer"),
    (evicting, "redis.eviction", "problem", "allkeys-lru"),
    (no_append_only_file, "redis.append_only", "problem", "off"),
    (no_fsync, "redis.fsync", "problem", "appendfsync no"),
    (nearly_full, "redis.memory", "problem", "% of maxmemory"),
    (disk_not_written, "redis.persistence", "problem", "rdb_last_bgsave_status: err"),
    (replica, "redis.role", "problem", "takes no writes"),
    (clock_an_hour_off, "redis.clock", "problem", "3600.0 s ahead"),
    (no_worker, "workers.method", "problem", "no worker answers"),
    (runtime_folder_open, "redis.runtime_folder", "problem", "not private"),
    (data_is_a_file, "data.folder", "problem", "is not a folder"),
    (data_cannot_be_made, "data.folder", "problem", "cannot be made"),
    (data_not_writable, "data.writable", "problem", "cannot be published"),
    (staging_elsewhere, ONE_FILE_SYSTEM, "problem", "staging"),
    (disk_full, "data.space", "problem", "bytes free"),
    (no_inodes, "data.inodes", "problem", "files can still be made"),
    (root_missing, "roots", "problem", "No such file"),
    (root_unreadable, "roots", "problem", "Permission denied"),
    (root_is_a_link, "roots", "warning", "leads through a link"),
    (root_contains_the_data, "roots", "problem", "contains the data folder"),
    (root_in_the_data, "roots", "problem", "lies in the data folder"),
    (links_lead_outside, "roots", "warning", "1 links in it lead outside"),
    (old_pillow, "versions.pillow", "problem", "12.2.0"),
    (celery_not_tried, "versions.celery", "warning", "6.0.0"),
    (few_open_files, "machine.open_files", "problem", "256 open files"),
    (weights_missing, "weights.folder", "problem", "is no folder"),
    (wrong_setting, "settings.lease_seconds", "problem", "CCD_LEASE_SECONDS=soon"),
    (faults_put_in, "settings.faults", "problem", "CCD_FAULTS=unit.batch=kill"),
    (wrong_pair_of_settings, "settings.lease_seconds", "problem", "at least twice"),
]


@pytest.mark.parametrize("row", PLANTS, ids=[row[0].__name__ for row in PLANTS])
def test_a_misconfiguration_is_named_with_its_remedy(row, place, monkeypatch):
    plant, check, level, found = row

    named = [finding for finding in plant(place, monkeypatch) if finding.check.startswith(check)]

    assert [finding.level for finding in named] == [level]
    assert found in named[0].found
    assert named[0].wanted
    assert named[0].remedy
    assert "secret" not in named[0].found


def test_a_healthy_installation_has_no_problem(place, monkeypatch):
    (place / "photos").mkdir()
    DataFolder(place / "data").create()
    with valkey() as url, ExitStack() as stack:
        for name, value in {
            "CCD_REDIS_URL": url,
            "CCD_DATA": str(place / "data"),
            "CCD_ALLOWED_ROOTS": str(place / "photos"),
        }.items():
            monkeypatch.setenv(name, value)
        for lane in ("io", "method"):
            stack.enter_context(worker(lane, place))
        wait_until(lambda: all(f.level is Level.OK for f in check_workers(Settings())))

        findings = list(examine(quick=True))

    free = next(finding for finding in findings if finding.check == "data.space")
    amiss = [f for f in findings if f.level is not Level.OK and f is not free]
    assert amiss == []
    assert (free.level is Level.OK) == (int(free.found.split()[0].replace(",", "")) >= LOW_BYTES)
    assert len(findings) > 20


@contextmanager
def worker(lane, place):
    with (place / f"{lane}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker", "--lane", lane],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(40)


def test_what_it_did_leaves_no_trace_in_the_data_folder(place):
    folder = DataFolder(place / "data")
    folder.create()
    before = sorted(folder.root.rglob("*"))

    list(check_data(folder))

    assert sorted(folder.root.rglob("*")) == before


def test_a_folder_in_use_is_said_to_be_so(place):
    folder = DataFolder(place / "data")
    folder.create()
    with folder.lock():
        found = {finding.check: finding.found for finding in check_data(folder)}
        assert f"process {os.getpid()}" in found["data.lock"]


def test_the_command_line_tells_programs_and_fails_with_problems(place):
    environment = {"CCD_DATA": str(place / "data"), "CCD_DEVICE": "cuda:7"}
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "doctor", "--json"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "CCD_REDIS_URL"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )

    told = json.loads(ended.stdout)
    named = {finding["check"]: finding for finding in told["findings"]}
    assert ended.returncode == 1, ended.stderr
    assert told["problems"] == 1
    assert named["machine.device"]["found"].startswith("CCD_DEVICE=cuda:7")
    assert named["machine.cpu"]["level"] == named["presets.tiny"]["level"] == "ok"
    assert not (place / "data").exists()


@pytest.mark.parametrize(
    ("wanted", "chosen", "gpu", "expected"),
    [
        ("auto", "cpu", "A GPU", "warning nvidia-smi shows A GPU, which torch 2 cannot use"),
        ("auto", "cpu", "", "ok a worker computes on cpu"),
        ("cpu", "cpu", "A GPU", "ok a worker computes on cpu"),
        ("auto", "cuda", "A GPU", "ok a worker computes on cuda"),
        ("auto", "cuda", "", "warning nvidia-smi does not answer"),
        ("cuda:1", "cuda:1", "", "warning a worker computes on cuda:1; nvidia-smi does not"),
    ],
)
def test_the_device_is_told_and_whether_the_driver_shows_the_same(
    place, monkeypatch, *, wanted, chosen, gpu, expected
):
    told = {"torch": "2", "torchvision": "0", "devices": [], "refused": "", "presets": {}}
    program = place / "python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(told | {'chosen': chosen, 'hub': True})}'")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr("app.doctor.machine.find_gpu", lambda _index: Device(gpu) if gpu else None)

    *_, finding = check_hardware(Settings(data=place, device=wanted))

    level, _, found = expected.partition(" ")
    assert (finding.check, finding.level) == ("machine.device", level)
    assert finding.found.startswith(f"CCD_DEVICE={wanted}")
    assert found in finding.found


def test_json_counts_what_it_lists(place):
    told = as_json(list(check_data(DataFolder(place / "data"))))

    assert (told["problems"], told["warnings"], len(told["findings"])) == (0, 0, 1)


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.14.0+cu130", (2, 14, 0)), ("5.7rc1", (5, 7)), ("odd", ())]
)
def test_versions_are_compared_by_their_numbers(text, numbers):
    assert as_numbers(text) == numbers
