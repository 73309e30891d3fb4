"""Images in a folder for each class: which go where, under what names, and what is lost."""

import json
from hashlib import sha256
from zipfile import ZipFile

import pytest

from workers.exports.folders import (
    chosen_labels,
    folder_names,
    member_name,
    split_of,
    write_folders,
)
from workers.exports.formats import ExportFormat, Policy
from workers.exports.source import Export
from workers.stages import Stage


class Made(Export):
    """An export of given rows; it reads no files."""

    rows = (
        ({"dog": 0.9, "cat": 0.8, "bus": 0}, ["dog", "cat"]),
        ({"dog": 0.1, "cat": 0.7, "bus": 0}, ["cat"]),
        ({"dog": 0.1, "cat": 0.2, "bus": 0}, []),
        ({"dog": 0.6, "cat": 0.6, "bus": 0}, ["dog", "cat"]),
    )
    names = ("dog", "cat", "bus")

    def pairs(self, on_images):
        for number, (scores, labels) in enumerate(self.rows):
            image = {"path": f"sub/{number}.JPEG", "format": "PNG", "content": number}
            image["sha256"] = f"{number:08x}"  # 0 is for validation
            yield image, {"scores": scores, "labels": labels}


EMPTY = {Policy.TOP1: "val/cat/", Policy.DUPLICATE: None, Policy.SKIP: "val/cat/"}


def written(tmp_path, policy):
    export = Made("job_1", Stage.STUDENT, ExportFormat.YOLO_CLS, labels=None, policy=policy)
    losses = write_folders(export, tmp_path / "x.zip", lambda _: None, lambda n: b"image %d" % n)
    with ZipFile(tmp_path / "x.zip") as archive:
        assert archive.testzip() is None
        listed = json.loads(archive.read("classes.json"))
        members = {n: archive.read(n).decode() for n in archive.namelist() if "/" in n}
    assert members.pop(EMPTY[policy], "") == ""  # a folder, so that both splits have the same
    assert listed == {"dog": "dog", "cat": "cat", "bus": "bus"}
    return members, losses


def test_top1_puts_an_image_where_its_highest_score_is(tmp_path):
    members, losses = written(tmp_path, Policy.TOP1)

    assert members == {
        "val/dog/00000000-0.png": "image 0",
        "train/cat/00000001-1.png": "image 1",
        "train/dog/00000003-3.png": "image 3",  # as good as cat, and given before it
    }
    assert (losses.images, losses.labels) == (1, 2)
    assert losses.notes == ["Classes without an image have no folder: bus."]


def test_duplicate_puts_an_image_where_each_of_its_labels_is(tmp_path):
    members, losses = written(tmp_path, Policy.DUPLICATE)

    assert [*members] == [
        *("val/dog/00000000-0.png", "val/cat/00000000-0.png", "train/cat/00000001-1.png"),
        *("train/dog/00000003-3.png", "train/cat/00000003-3.png"),
    ]
    assert (losses.images, losses.labels) == (1, 0)
    assert "2 copies" in losses.notes[0]


def test_skip_leaves_out_whatever_has_several_labels(tmp_path):
    members, losses = written(tmp_path, Policy.SKIP)

    assert [*members] == ["train/cat/00000001-1.png"]
    assert (losses.images, losses.labels) == (3, 4)
    assert losses.notes == ["Classes without an image have no folder: dog, bus."]


def test_gifs_are_told_since_most_readers_pass_over_them(tmp_path):
    class Gifs(Made):
        def pairs(self, on_images):
            for image, row in super().pairs(on_images):
                yield {**image, "format": "GIF"}, row

    export = Gifs("job_1", Stage.STUDENT, ExportFormat.YOLO_CLS, labels=None, policy=Policy.SKIP)
    losses = write_folders(export, tmp_path / "x.zip", lambda _: None, lambda n: b"")

    assert "GIF files; here are 1" in losses.notes[0]


def test_the_same_images_give_the_same_bytes(tmp_path):
    written(tmp_path, Policy.TOP1)
    first = (tmp_path / "x.zip").read_bytes()
    written(tmp_path, Policy.TOP1)

    assert (tmp_path / "x.zip").read_bytes() == first


def test_an_image_that_cannot_be_read_ends_the_export(tmp_path):
    export = Made("job_1", Stage.STUDENT, ExportFormat.YOLO_CLS, labels=None, policy=Policy.TOP1)

    def gone(content):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_folders(export, tmp_path / "x.zip", lambda _: None, gone)


def test_copies_of_an_image_are_never_in_both_splits():
    digests = [sha256(b"%d" % n).hexdigest() for n in range(1000)]

    splits = [split_of(digest) for digest in digests]

    assert splits == [split_of(digest) for digest in digests]
    assert 150 < splits.count("val") < 250


def test_of_one_label_every_policy_keeps_it():
    row = {"scores": {"a": 0.5}, "labels": ["a"]}
    assert [chosen_labels(row, policy) for policy in Policy] == [["a"]] * 3


NAMES = [
    ("dog", "dog"),
    ("../../etc", "______etc"),
    ("a/b\\c", "a_b_c"),
    ("Dog", "Dog (2)"),
    ("CON", "CON_"),
    ("con.x", "con_x"),
    ("...", "___"),
    ("  ", "class"),
    ("été", "été"),
    ("🐕", "_"),
    ("=cmd|x", "_cmd_x"),
    ("x" * 300, "x" * 80),
    ("x" * 301, "x" * 80 + " (2)"),
]


def test_a_folder_is_one_on_every_file_system():
    folders = folder_names([name for name, _ in NAMES])

    assert list(folders.items()) == NAMES
    assert len({folder.casefold() for folder in folders.values()}) == len(NAMES)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b/dog.jpg", "00000007-dog.jpg"),
        ("dog.tar.gz", "00000007-dog_tar.jpg"),
        ("..\\..\\x.jpg", "00000007-______x.jpg"),
        ("a\nb\x00.png", "00000007-a_b_.jpg"),
        (".jpg", "00000007-_jpg.jpg"),
        ("y" * 250 + ".jpg", "00000007-" + "y" * 80 + ".jpg"),
        ("  .jpg", "00000007.jpg"),
        ("\\xff.jpg", "00000007-_xff.jpg"),
    ],
)
def test_a_file_in_the_zip_has_a_name_that_no_reader_stumbles_over(path, name):
    assert member_name(7, {"path": path, "format": "JPEG"}) == name
