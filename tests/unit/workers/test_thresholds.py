"""Versions of thresholds on disk: numbered, whole, never overwritten."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.headers import HEADER, layout_of, onnx_metadata
from tests.cards import card_of
from workers import thresholds
from workers.files import DataFolder, DiskFull, write_json
from workers.thresholds import (
    AFTER,
    BEFORE,
    NoSuchVersion,
    Thresholds,
    VersionDamaged,
    VersionTaken,
    add_version,
    latest_version,
    read_version,
    versions,
)

STUDENT = "stu_1"
NOW = "2026-01-01T00:00:00.000Z"
ABOUT = {
    "classes": [{"name": "cat"}, {"name": "dog"}],
    "thresholds": [0.25, None],
    "threshold_basis": "pseudo_f1",
    "thresholds_version": 1,
}
BY_HAND = Thresholds(values={"cat": None, "dog": 0.75}, basis="manual")


@pytest.fixture
def data(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.create()

    def student(staging):
        weights = {"w": torch.arange(5.0)}
        save_file(weights, staging / "student.safetensors", {HEADER: json.dumps(ABOUT)})
        listed = {"id": STUDENT, "classes": ["cat", "dog"], "thresholds": [0.25, None]}
        write_json(staging / "student.json", {**listed, "threshold_basis": "pseudo_f1"})

    def export(staging):
        (staging / "student.onnx").write_bytes(b"\x08\x08" + onnx_metadata(json.dumps(ABOUT)))
        write_json(staging / "model-card.json", card_of("cat", "dog"))

    folder.produce_at(folder.student(STUDENT), student, nonce="n")
    folder.produce("export-1", export, nonce="n")
    return folder


def add(data, wanted=BY_HAND, *, after=1):
    exports = data.phase("export-1")
    return add_version(data, STUDENT, wanted, after=after, now=NOW, exports=exports)


def test_a_student_begins_with_what_its_job_found(data):
    first = read_version(data, STUDENT)

    assert (first.version, first.basis) == (1, "pseudo_f1")
    assert first.values == {"cat": 0.25, "dog": None}
    assert latest_version(data, STUDENT) == 1
    assert list(versions(data, STUDENT)) == [1]


def test_a_version_is_read_as_it_was_made(data):
    made = add(data)

    assert (made.version, made.basis, made.created_at) == (2, "manual", NOW)
    assert made.values == BY_HAND.values
    assert read_version(data, STUDENT) == made
    assert read_version(data, STUDENT, 2) == made
    assert read_version(data, STUDENT, 1).basis == "pseudo_f1"


def test_a_version_that_is_there_is_never_overwritten(data):
    made = add(data)

    with pytest.raises(VersionTaken):
        add(data, Thresholds(values={"cat": 0.5, "dog": 0.5}, basis="manual"))

    assert read_version(data, STUDENT) == made
    assert list(data.staging_root.iterdir()) == []


def test_the_tenth_version_follows_the_ninth(data):
    for after in range(1, 11):
        add(data, after=after)

    assert list(versions(data, STUDENT)) == list(range(11, 0, -1))


@pytest.mark.parametrize("number", [-1, 0, 2, 10**12])
def test_a_version_that_is_not_there_is_told_with_what_there_is(data, number):
    with pytest.raises(NoSuchVersion, match=f"versions 1 to 1, is {number}"):
        read_version(data, STUDENT, number)


def test_a_number_longer_than_a_file_name_is_told_in_short(data):
    add(data)

    with pytest.raises(NoSuchVersion) as caught:
        read_version(data, STUDENT, 10**300)

    assert "versions 1 to 2, is 1000" in str(caught.value)
    assert len(str(caught.value)) < 100


def test_what_a_file_system_leaves_among_the_versions_is_none(data):
    made = add(data)
    for name in (".nfs0000000000a1", ".DS_Store", "²", "7"):
        (made.folder.parent / name).touch()

    assert list(versions(data, STUDENT)) == [2, 1]
    assert read_version(data, STUDENT) == made


def test_a_damaged_version_is_followed_by_the_next(data):
    made = add(data)
    (made.folder / "thresholds.json").write_text("{}")
    with pytest.raises(VersionDamaged, match="put another in force"):
        read_version(data, STUDENT)

    assert add(data, after=2).version == 3
    assert read_version(data, STUDENT).values == BY_HAND.values


def test_of_the_weights_no_byte_is_kept_twice(data):
    made = add(data)

    original = data.student(STUDENT) / "student.safetensors"
    before, after = (
        (made.folder / f"student.safetensors{end}").read_bytes() for end in (BEFORE, AFTER)
    )
    body = range(*made.patched["student.safetensors"]["body"])
    assert len(body) == 5 * 4
    assert original.read_bytes()[body.start : body.stop] not in before + after


def test_the_parts_of_a_file_are_the_student_with_other_thresholds(data, tmp_path):
    made = add(data)
    originals = {
        "student.safetensors": data.student(STUDENT),
        "student.onnx": data.phase("export-1"),
    }

    for name, folder in originals.items():
        content = (folder / name).read_bytes()[slice(*made.patched[name]["body"])]
        before, after = ((made.folder / f"{name}{end}").read_bytes() for end in (BEFORE, AFTER))
        whole = tmp_path / name
        whole.write_bytes(before + content + after)

        assert layout_of(whole).header == {
            **ABOUT,
            "thresholds": [None, 0.75],
            "threshold_basis": "manual",
            "thresholds_version": 2,
        }
    assert load_file(tmp_path / "student.safetensors")["w"].tolist() == list(range(5))


def test_nothing_is_left_of_a_version_that_the_disk_had_no_room_for(data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(thresholds, "write_durably", full)

    with pytest.raises(DiskFull):
        add(data)

    assert latest_version(data, STUDENT) == 1
    assert list(data.staging_root.iterdir()) == []
