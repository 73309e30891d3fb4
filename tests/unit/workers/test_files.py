"""The data folder: nothing half-written is ever visible, nothing damaged is ever accepted."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workers import files
from workers.files import DataFolder, DiskFull, FolderLocked
from workers.jobs import Kind

NAMES_SHA256 = "aeb24056810d3d1f1e8afee61a0bc0028556eb0fb49a215ae5eb1b970cad0315"
NEVER = "make was called for a folder that is there"


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    made.create()
    return made


@pytest.fixture
def published(folder: DataFolder) -> Path:
    folder.produce("embed-1", write_two_files, nonce="n1")
    return folder.phase("embed-1")


def write_two_files(staging: Path) -> None:
    (staging / "features.bin").write_bytes(b"features")
    (staging / "more").mkdir()
    (staging / "more" / "names.bin").write_bytes(b"names")


def never(staging: Path) -> None:
    raise AssertionError(NEVER)


def fresh(folder: DataFolder) -> DataFolder:
    """The same folder as a process sees it that has verified nothing yet."""
    return DataFolder(folder.root)


# Publishing


def test_a_published_folder_is_complete_and_leaves_no_staging(folder, published):
    assert fresh(folder).is_complete(published)
    assert list(folder.staging_root.iterdir()) == []


def test_the_seal_lists_size_and_digest_of_every_file(published):
    seal = json.loads((published / "MANIFEST.json").read_bytes())

    assert seal["name"] == "embed-1"
    assert [(f["name"], f["size"]) for f in seal["files"]] == [
        ("features.bin", 8),
        ("more/names.bin", 5),
    ]
    # printf names | sha256sum
    assert seal["files"][1]["sha256"] == NAMES_SHA256


def test_the_same_inputs_are_sealed_with_the_same_bytes(folder, tmp_path, published):
    other = DataFolder(tmp_path / "other")
    other.create()
    other.produce("embed-1", write_two_files, nonce="n2")

    seals = [(f.phase("embed-1") / "MANIFEST.json").read_bytes() for f in (folder, other)]
    assert seals[0] == seals[1]


def test_publishing_tells_whose_folder_is_there_now(folder):
    final, told = folder.phase("embed-1"), []
    for nonce in ("n1", "n2"):
        with folder.staging(nonce) as staging:
            write_two_files(staging)
            told.append(folder.publish(staging, final))
    (final / "features.bin").write_bytes(b"damaged!")
    with folder.staging("n3") as staging:
        write_two_files(staging)
        told.append(fresh(folder).publish(staging, final))

    assert told == [True, False, True]
    assert fresh(folder).is_complete(final)


def test_a_folder_that_is_there_is_not_made_again(folder, published):
    assert folder.produce("embed-1", never, nonce="n2") == "embed-1"


def test_the_loser_of_a_race_throws_its_copy_away(folder):
    def lose(staging: Path) -> None:
        (staging / "who").write_text("second")
        folder.produce("embed-1", lambda s: (s / "who").write_text("first"), nonce="n2")

    folder.produce("embed-1", lose, nonce="n1")

    assert (folder.phase("embed-1") / "who").read_text() == "first"
    assert list(folder.staging_root.iterdir()) == []


def test_a_failed_unit_leaves_nothing(folder):
    def fail(staging: Path) -> None:
        (staging / "half").write_bytes(b"half")
        raise KeyError

    with pytest.raises(KeyError):
        folder.produce("embed-1", fail, nonce="n1")

    assert list(folder.staging_root.iterdir()) == []
    assert list(folder.phases.iterdir()) == []


def test_units_of_one_claim_may_be_nested(folder):
    def outer(staging: Path) -> None:
        folder.produce("inner-1", write_two_files, nonce="n1")
        write_two_files(staging)

    folder.produce("outer-1", outer, nonce="n1")

    assert all(folder.is_complete(folder.phase(name)) for name in ("inner-1", "outer-1"))


def flip_a_bit(published: Path) -> None:
    content = bytearray((published / "features.bin").read_bytes())
    content[3] ^= 1
    (published / "features.bin").write_bytes(content)


def name_another_folder(published: Path) -> None:
    seal = published / "MANIFEST.json"
    seal.write_bytes(seal.read_bytes().replace(b"embed-1", b"embed-2"))


DAMAGES = {
    "a bit is flipped": flip_a_bit,
    "a file is cut": lambda p: os.truncate(p / "features.bin", 3),
    "a file is gone": lambda p: (p / "more" / "names.bin").unlink(),
    "the seal is gone": lambda p: (p / "MANIFEST.json").unlink(),
    "the seal is empty": lambda p: os.truncate(p / "MANIFEST.json", 0),
    "the seal is cut": lambda p: os.truncate(p / "MANIFEST.json", 40),
    "the seal is something else": lambda p: (p / "MANIFEST.json").write_text("[]"),
    "the seal is another folder's": name_another_folder,
    "the folder is gone": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_not_accepted_and_made_anew(folder, published, damage):
    damage(published)
    seen = fresh(folder)

    assert not seen.is_complete(published)
    seen.produce("embed-1", write_two_files, nonce="n2")
    assert fresh(folder).is_complete(published)


def test_a_verified_folder_is_hashed_once_per_process(folder, published, monkeypatch):
    assert folder.is_complete(published)
    monkeypatch.setattr(files, "is_sealed", never)

    assert folder.is_complete(published)


def test_a_folder_that_another_thread_forgets_at_once_is_whole_all_the_same(folder, published):
    class Forgetful(set):
        def add(self, key):
            super().add(key)
            super().discard(key)  # what another thread's pop() may take

    folder._verified = Forgetful()

    assert folder.is_complete(published)


def test_uploaded_images_are_left_out_of_the_seal(folder):
    def make(staging: Path) -> None:
        write_two_files(staging)
        (staging / "images").mkdir()
        (staging / "images" / "00000000").write_bytes(b"pixels")

    folder.produce_at(folder.dataset("ds_1"), make, nonce="n1")

    seal = (folder.dataset("ds_1") / "MANIFEST.json").read_text()
    assert "00000000" not in seal


PUBLISH_FOR_EVER = """
import itertools, os, sys
from pathlib import Path
from workers.files import DataFolder

data, content = DataFolder(Path(sys.argv[1])), os.urandom(300_000)
print("ready", flush=True)
for i in itertools.count():
    make = lambda staging: [(staging / name).write_bytes(content) for name in "abc"]
    data.produce(f"embed-{i % 3}", make, nonce=f"{os.getpid()}-{i}")
    data.discard(data.phase(f"embed-{(i + 1) % 3}"))
"""

HOLD_LOCK = """
import signal, sys
from pathlib import Path
from workers.files import DataFolder

with DataFolder(Path(sys.argv[1])).lock():
    print("ready", flush=True)
    signal.pause()
"""


@contextmanager
def running(script: str, folder: DataFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that has said that it is ready; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder.root)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_killed_writer_leaves_no_partial_folder(folder):
    for attempt in range(12):
        with running(PUBLISH_FOR_EVER, folder):
            deadline = time.monotonic() + 0.01 + 0.007 * attempt
            while time.monotonic() < deadline:  # a reader beside the writer
                assert_whole(folder)
        assert_whole(folder)

    folder.sweep(set(), quiet_seconds=0)
    assert list(folder.staging_root.iterdir()) == []


def assert_whole(folder: DataFolder) -> None:
    """Every visible folder verifies, unless the writer deletes it each time we look."""
    for path in folder.phases.iterdir():
        tries = (fresh(folder).is_complete(path) or not path.exists() for _ in range(20))
        assert any(tries)


# Deleting and sweeping


def test_a_discarded_folder_is_gone_and_discarding_again_is_harmless(folder, published):
    folder.discard(published)
    folder.discard(published)

    assert not published.exists()
    assert list(folder.staging_root.iterdir()) == []


def test_the_sweep_keeps_live_claims_and_recent_uploads(folder):
    for nonce in ("live", "dead", "upload"):
        (folder.staging_root / nonce).mkdir()
        (folder.staging_root / nonce / "file").write_bytes(b"x")
    for path in (folder.staging_root / "dead", folder.staging_root / "dead" / "file"):
        os.utime(path, (0, 0))
    os.utime(folder.staging_root / "upload", (0, 0))  # its file is new
    (folder.staging_root / ".trash-1").mkdir()

    swept = folder.sweep({"live"})

    assert swept == 2
    assert sorted(p.name for p in folder.staging_root.iterdir()) == ["live", "upload"]


# JSON files


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "result.json"
    files.write_json(path, {"path": "caf\xe9 \udcff"})
    files.write_json(path, {"b": 1, "a": [None, 0.5]})

    assert path.read_text() == '{"a": [null, 0.5], "b": 1}'
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_number_that_is_none_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "result.json"
    files.write_json(path, 1)

    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(path, float("nan"))
    assert files.read_json(path) == 1


# A full disk


def test_no_space_left_becomes_disk_full_with_the_free_bytes(tmp_path):
    with (
        pytest.raises(DiskFull, match=r"[\d,]+ bytes free") as caught,
        files.disk_guard(tmp_path),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"x")

    assert caught.value.code == "disk_full"


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, files.disk_guard(tmp_path):
        (tmp_path / "missing").read_bytes()

    assert caught.value.errno == errno.ENOENT


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
import pyarrow as pa
from pyarrow.parquet import ParquetWriter
from workers.files import DataFolder, DiskFull, write_json

data = DataFolder(Path(sys.argv[1]))
data.create()
write_json(data.root / "request.json", {"old": True})

def parquet(staging):
    table = pa.table({"x": [bytes([i % 251]) * 900 + str(i).encode() for i in range(4096)]})
    with (staging / "m").open("wb") as file, ParquetWriter(file, table.schema) as writer:
        for _ in range(50):
            writer.write_table(table)

def refused(name, act):
    try:
        act()
    except DiskFull:
        print(name, "refused")

refused("bytes", lambda: data.produce(
    "a-1", lambda s: (s / "big").write_bytes(bytes(3_000_000)), nonce="n1"))
refused("parquet", lambda: data.produce("b-1", parquet, nonce="n2"))
refused("json", lambda: write_json(data.root / "request.json", "x" * 3_000_000))
data.produce("c-1", lambda s: (s / "small").write_bytes(bytes(300_000)), nonce="n3")
print((data.root / "request.json").read_text())
print(sorted(p.name for p in data.phases.iterdir()), list(data.staging_root.iterdir()))
"""


def in_own_mounts(command: str, *args: str) -> list[str]:
    """A command line that may mount without being root."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command, "sh", *args]


def can_mount(tmp_path: Path) -> bool:
    command = in_own_mounts('mount -t tmpfs -o size=2m tmpfs "$1"', str(tmp_path))
    return bool(shutil.which("unshare")) and subprocess.run(command, check=False).returncode == 0


def test_a_full_disk_tears_nothing(tmp_path):
    if not can_mount(tmp_path):
        pytest.skip("this system lets nobody mount a small disk")
    command = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    run = subprocess.run(
        in_own_mounts(command, str(tmp_path), sys.executable, ON_A_SMALL_DISK),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])},
    )

    assert run.stdout.splitlines() == [
        "bytes refused",
        "parquet refused",
        "json refused",
        '{"old": true}',
        "['c-1'] []",
    ], run.stderr


# The lock


def test_a_second_service_is_told_who_holds_the_folder(folder):
    with (
        running(HOLD_LOCK, folder) as holder,
        pytest.raises(FolderLocked, match=f"process {holder.pid}") as caught,
        folder.lock(),
    ):
        pass

    assert caught.value.pid == holder.pid


def test_the_lock_of_a_killed_service_is_free(folder):
    with running(HOLD_LOCK, folder):
        pass

    with folder.lock():
        pass


def test_a_lock_that_was_let_go_can_be_taken_again(folder):
    with folder.lock():
        pass
    with folder.lock():
        assert (folder.root / ".lock").read_text() == str(os.getpid())


# Where things lie


def test_a_student_lies_in_the_folder_of_its_job(folder):
    assert folder.student("stu_7") == folder.of(Kind.JOB, "job_7") / "student"


# Two at a time


def test_two_sweeps_at_a_time_take_nothing_from_each_other(folder, monkeypatch):
    touch = Path.touch

    def touch_and_sweep(path: Path) -> None:
        touch(path)
        monkeypatch.setattr(Path, "touch", touch)
        fresh(folder).sweep(set())

    monkeypatch.setattr(Path, "touch", touch_and_sweep)

    assert folder.sweep(set()) == 0
    assert list(folder.staging_root.iterdir()) == []
