"""Maps are named by what they depend on, and their cache keeps within its limits."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import cams
from workers.cams import Cam, CamCache, fitted, sweep
from workers.files import DataFolder
from workers.jobs import Kind

CAM = Cam("a" * 64, "b" * 64, channel=1, width=40, height=30, format="png")
SIDES = st.integers(1, 20_000)


@pytest.fixture
def data(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


@pytest.fixture
def cache(data):
    return CamCache(data)


def put(cache, name, *, used, size=10):
    """A folder that was used last at a given second."""
    cache.produce(name, lambda staging: (staging / "x").write_bytes(b"x" * size), nonce="n")
    os.utime(cache.folder(name), (used, used))


def left(data):
    return sorted(path.name for path in data.of(Kind.CAM, "").iterdir())


def test_a_map_by_hand():
    assert fitted(2000, 1000, 500) == (500, 250)
    assert fitted(1000, 2000, 500) == (250, 500)
    assert fitted(300, 200, 500) == (300, 200)
    assert fitted(10_000, 1, 100) == (100, 1)


@given(SIDES, SIDES, st.integers(16, 4096))
def test_a_map_is_never_larger_than_its_image_nor_than_asked_for(width, height, max_side):
    small = fitted(width, height, max_side)

    assert all(
        1 <= new <= min(old, max_side) for new, old in zip(small, (width, height), strict=True)
    )
    assert max(small) == min(max(width, height), max_side)


@pytest.mark.parametrize(
    "change",
    [
        {"student_sha256": "c" * 64},
        {"image_sha256": "c" * 64},
        {"channel": 2},
        {"width": 41},
        {"height": 31},
        {"format": "npy"},
    ],
)
def test_another_map_has_another_name(change):
    other = replace(CAM, **change)

    assert other.name != CAM.name
    assert other.record_id("ours") != CAM.record_id("ours")
    assert CAM.record_id("theirs") != CAM.record_id("ours")


def test_the_maps_of_all_classes_and_sizes_come_of_one_look():
    assert replace(CAM, channel=2, width=20, format="npy").grid_name == CAM.grid_name
    assert replace(CAM, student_sha256="c" * 64).grid_name != CAM.grid_name


def test_the_ones_used_last_are_kept(cache, data, monkeypatch):
    monkeypatch.setattr(cams, "MAX_FOLDERS", 2)
    now = cams.time.time()
    for age, name in enumerate(["cam-new", "grid-mid", "cam-old", "grid-oldest"]):
        put(cache, name, used=now - 100 * age)
    assert cache.has("cam-old")  # which is a use

    assert sweep(data, set()) == 2
    assert left(data) == ["cam-new", "cam-old"]


def test_large_maps_make_room_by_their_bytes(cache, data, monkeypatch):
    now = cams.time.time()
    put(cache, "cam-old", used=now - 20, size=10_000)
    put(cache, "cam-new", used=now - 10, size=10_000)
    monkeypatch.setattr(cams, "MAX_BYTES", 15_000)

    assert cache.trim() == 1
    assert left(data) == ["cam-new"]


def test_a_map_that_nobody_asks_for_goes_after_a_day(cache, data):
    now = cams.time.time()
    put(cache, "cam-a", used=now - cams.UNUSED_SECONDS - 60)
    put(cache, "cam-b", used=now - cams.UNUSED_SECONDS + 60)

    assert cache.trim() == 1
    assert left(data) == ["cam-b"]
    assert not cache.has("cam-a")


def test_a_damaged_map_is_not_there_and_is_made_again(cache):
    put(cache, "cam-a", used=1)
    (cache.folder("cam-a") / "x").write_bytes(b"y")
    other = CamCache(DataFolder(cache._data.root))

    assert not other.has("cam-a")
    put(other, "cam-a", used=1)
    assert other.has("cam-a")
