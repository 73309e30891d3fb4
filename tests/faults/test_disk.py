"""The disk is full, or what lies on it is damaged: nothing torn is seen, and work goes on after."""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.worlds import World, result_of
from tests.serving import RunningServer, wait_until
from tests.valkeys import mortal_valkey
from workers.durable import SEAL
from workers.files import DataFolder
from workers.jobs import Kind, Status
from workers.outcomes import ending_of
from workers.settings import Settings

LONG = pytest.mark.long
BALLAST = ".ballast"
CLASSES = ["a", "b"]


@contextmanager
def small_disk(place, *, megabytes=200, inodes=20_000):
    """A file system of its own at a folder."""
    place.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,nr_inodes={inodes}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    mount = shutil.which("mount")
    if not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may mount no small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def use_up_bytes(disk):
    """Down to the last one."""
    with (disk / BALLAST).open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 10, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def use_up_inodes(disk):
    (disk / BALLAST).mkdir()
    with suppress(OSError):
        for n in range(1 << 20):
            (disk / BALLAST / str(n)).touch()


def make_room(disk):
    ballast = disk / BALLAST
    if ballast.is_dir():
        shutil.rmtree(ballast)
    else:
        ballast.unlink()


def others(result, golden):
    """The files of another job on the same inputs that differ, but for those with its name."""
    named = ("report/", "student/student.json", f"student/{SEAL}")
    return [name for name in result.differences(golden.result) if not name.startswith(named)]


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "data-0") as place:
        yield place


@pytest.mark.long
@pytest.mark.parametrize(
    ("phase", "use_up"),
    [("embed", use_up_inodes), ("train", use_up_bytes), ("export", use_up_bytes)],
)
def test_a_full_disk_ends_the_job_by_name_and_the_next_one_works(
    disk, new_world, golden, phase, use_up
):
    world = new_world(before=phase)
    world.submit()
    hand = world.hand(f"unit.batch@{phase}=stop")
    world.live_until(hand.is_stopped)
    use_up(disk)
    hand.signal(signal.SIGCONT)

    job = world.finish()

    assert (job.status, job.error.code, job.error.phase) == (Status.FAILED, "disk_full", phase)
    fresh = DataFolder(world.folder.root)
    assert all(map(fresh.is_complete, fresh.phases.iterdir()))

    make_room(disk)
    world.live_until(lambda: ending_of(fresh, job))
    assert ending_of(fresh, job).error == job.error
    world.succeed(world.submit("job_2"))
    assert others(result_of(world, "job_2"), golden) == []
    assert list(fresh.staging_root.iterdir()) == []
    assert hand.ends == []


def test_a_full_disk_ends_a_registration_by_name_and_the_next_one_works(disk, new_world, golden):
    world = new_world(before="register")
    hand = world.hand("unit.batch@register:5=stop")
    world.live_until(hand.is_stopped)
    use_up_bytes(disk)
    hand.signal(signal.SIGCONT)

    dataset = world.finish("ds_1")
    assert (dataset.status, dataset.error.code) == (Status.FAILED, "disk_full")
    assert not world.folder.dataset("ds_1").exists()

    make_room(disk)
    world._submit(Kind.DATASET, "ds_2", dataset.request, dataset.phases)
    world.succeed("ds_2")
    kept = [folder / "manifest.parquet" for folder in (world.folder.dataset("ds_2"),)]
    wanted = golden.folder.dataset("ds_1") / "manifest.parquet"
    assert [path.read_bytes() for path in kept] == [wanted.read_bytes()]


def test_with_a_full_disk_nothing_is_accepted_and_nothing_is_broken(tmp_path):
    """All that `ccd serve` keeps lies on one disk, the journal of Redis too."""
    photos = tmp_path / "photos"
    photos.mkdir()
    with mortal_valkey(small_disk) as server:
        disk = server.folder
        settings = Settings(
            data=disk / "data", redis_url=server.url, allowed_roots=[photos], reap_seconds=600
        )
        folder = {"source": {"kind": "folder", "path": str(photos)}}
        with RunningServer(settings) as service, httpx.Client(base_url=service.url) as api:
            accepted = api.post("/v1/datasets", json=folder).json()["id"]
            use_up_bytes(disk)
            for body in (
                {"json": folder},
                {"files": {"files": ("a.jpg", b"x")}},
                {"json": folder},
            ):
                reply = api.post("/v1/datasets", **body)
                assert (reply.status_code, reply.json()["code"]) == (507, "disk_full")
            reply = api.post("/v1/jobs/job_0/cancel")
            assert reply.status_code == 404
            assert api.get(f"/v1/datasets/{accepted}").json()["status"] == "registering"
            reply = api.post("/v1/jobs", json={"dataset_id": accepted, "classes": CLASSES})
            assert reply.status_code in {503, 507}, reply.text

            make_room(disk)
            wait_until(lambda: api.post("/v1/datasets", json=folder).status_code == 202)
            assert len(api.get("/v1/datasets").json()["data"]) == 2
            kept = sorted(path.name for path in DataFolder(settings.data).datasets.iterdir())
            listed = api.get("/v1/datasets").json()["data"]
            assert kept == sorted(row["id"] for row in listed)


# What lies on the disk is damaged


def cut_short(folder):
    path = largest(folder)
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(folder):
    path = largest(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(folder):
    largest(folder).write_bytes(b"")


def lose_a_file(folder):
    largest(folder).unlink()


def lose_the_seal(folder):
    (folder / SEAL).unlink()


def swap_the_seal(folder):
    """That of another folder."""
    other = next(path for path in folder.parent.iterdir() if path.name != folder.name)
    shutil.copyfile(other / SEAL, folder / SEAL)


def lock_up(folder):
    """Nobody may read it; to root that is nothing, so it is a folder instead."""
    path = largest(folder)
    path.unlink()
    path.mkdir()


def lose(folder):
    shutil.rmtree(folder)


def largest(folder):
    files = [path for path in folder.iterdir() if path.name != SEAL]
    return max(files, key=lambda path: (path.stat().st_size, path.name))


DAMAGES = (cut_short, flip_a_bit, empty, lose_a_file, lose_the_seal, swap_the_seal, lock_up, lose)


def break_off(new_world, unit, before):
    """A job whose worker died when it had begun that unit."""
    world = new_world(before=before)
    world.submit()
    hand = world.hand(f"unit.started@{unit}=kill")
    world.watch_until(hand.is_dead)
    world.hands.remove(hand)
    return world


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_not_trained_on(new_world, golden, damage, chance):
    world = break_off(new_world, "train/000001", before="train")
    damaged = sorted(world.folder.phases.glob(f"{chance.choice(['weights', 'optimizer'])}-*"))
    for folder in damaged:
        damage(folder)

    world.hand(name="second")
    world.succeed()

    assert damaged
    assert result_of(world).differences(golden.result) == []


#: What is read by which unit that comes next, and its phase.
READ_BY = {
    "embed": ("debias", "debias"),
    "localize": ("update", "update"),
    "score": ("export", "export"),
}


@pytest.mark.long
@pytest.mark.parametrize("what", READ_BY)
def test_a_damaged_output_is_made_again_by_who_reads_it(new_world, golden, what):
    world = break_off(new_world, *READ_BY[what])
    damaged = list(world.folder.phases.glob(f"{what}-*"))
    for folder in damaged:
        flip_a_bit(folder)

    hand = world.hand(name="second")
    world.succeed()

    assert damaged
    assert "output.damaged" in hand.said
    assert result_of(world).differences(golden.result) == []


def test_with_everything_damaged_a_job_begins_anew(new_world, golden):
    world = break_off(new_world, "score", before="score")
    for folder in world.folder.phases.iterdir():
        flip_a_bit(folder)

    world.hand(name="second")
    world.succeed()

    assert result_of(world).differences(golden.result) == []
    assert all(map(DataFolder(world.folder.root).is_complete, world.folder.phases.iterdir()))


# What was registered is no longer there


def replace_by_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_an_endless_file(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def replace_by_a_link(path):
    other = next(each for each in sorted(path.parent.iterdir()) if each != path)
    path.unlink()
    path.symlink_to(other)


def cut_a_file_short(path):
    path.write_bytes(path.read_bytes()[:-1])


CHANGES = (Path.unlink, cut_a_file_short, replace_by_a_pipe, replace_by_an_endless_file)


@pytest.fixture
def own_scenes(golden, tmp_path):
    """A copy of the images that may be changed."""
    return Path(shutil.copytree(golden.scenes, tmp_path / "scenes"))


@pytest.fixture
def own_world(redis_url, tmp_path, own_scenes):
    """A world that has registered them."""
    world = World(redis_url, tmp_path / "data", own_scenes)
    world.hand()
    world.succeed("ds_1")
    yield world
    world.end()


@pytest.mark.parametrize(
    "change", [replace_by_a_link, *(pytest.param(change, marks=LONG) for change in CHANGES)]
)
def test_an_image_that_is_another_now_ends_the_job_by_its_name(own_world, own_scenes, change):
    changed = sorted(own_scenes.iterdir())[3]
    change(changed)

    own_world.submit()
    job = own_world.finish()

    assert (job.status, job.error.code) == (Status.FAILED, "input_changed")
    assert changed.name in job.error.message
    assert str(own_scenes) not in job.error.message


@pytest.mark.long
def test_an_image_with_another_time_is_the_same_image(own_world, own_scenes, golden):
    for path in own_scenes.iterdir():
        os.utime(path, (1, 1))

    own_world.succeed(own_world.submit())

    assert result_of(own_world).differences(golden.result) == []
