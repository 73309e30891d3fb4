"""Uploads, archives and server folders: what of them is read, and what is refused."""

import zipfile

import pytest

from tests.truths import voc_object, write_nus_wide, write_voc
from workers.archives import ArchiveRejected
from workers.paths import PathNotAllowed
from workers.settings import Settings
from workers.truth.read import read_truth
from workers.truth.source import place_truth
from workers.truth.truth import TruthError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return (tmp_path / "root").resolve()


@pytest.fixture
def place(tmp_path, root):
    own, staging = tmp_path / "own", tmp_path / "staging"
    own.mkdir()
    staging.mkdir()
    settings = Settings(allowed_roots=[root], max_archive_members=2000)

    def placed(kind, path):
        source = {"kind": kind, "path": str(path)}
        return place_truth(source, own=own, staging=staging, settings=settings)

    placed.own, placed.staging = own, staging
    return placed


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_an_uploaded_file_is_read_where_it_lies(place):
    (place.own / "truth").write_text("path,labels\na.jpg,cat\n")

    assert place("upload", "truth") == place.own / "truth"


def test_a_zip_is_unpacked_without_its_images(place, tmp_path):
    write_voc(tmp_path / "VOC2012", {"a": [voc_object("cat")]})
    xml = (tmp_path / "VOC2012" / "Annotations" / "a.xml").read_text()
    members = {
        "VOC2012/Annotations/a.xml": xml,
        "VOC2012/ImageSets/Main/train.txt": "a\n",
        "VOC2012/ImageSets/Segmentation/train.txt": "a\n",
        "VOC2012/JPEGImages/a.jpg": b"x" * 1000,
    }
    zipped(place.own / "truth", members)

    placed = place("upload", "truth")

    assert files(placed) == [
        "VOC2012/Annotations/a.xml",
        "VOC2012/ImageSets/Main/train.txt",
    ]
    assert read_truth(placed, split="train").images["a"].labels == {"cat"}


def test_a_zip_on_the_server_is_unpacked_too(place, root):
    zipped(root / "truth.zip", {"deep/er/truth.csv": "path,labels\na.jpg,cat\n"})

    assert read_truth(place("file", root / "truth.zip")).format == "csv"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"../a.csv": "x"}, "leads outside"),
        ({"a.csv": "x", "a.csv/b.csv": "x"}, "a name that cannot be a file"),
        ({f"{'x' * 300}.csv": "x"}, "a name that cannot be a file"),
    ],
)
def test_a_zip_made_in_bad_faith_is_refused(place, members, said):
    zipped(place.own / "truth", members)

    with pytest.raises(ArchiveRejected, match=said):
        place("upload", "truth")


def test_a_bomb_is_refused_before_it_is_unpacked(place):
    with zipfile.ZipFile(place.own / "truth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("truth.csv", b"0" * 50_000_000)

    with pytest.raises(ArchiveRejected, match="unpacks from"):
        place("upload", "truth")
    assert files(place.staging) == []


def test_of_a_folder_only_lists_are_copied(place, root):
    write_nus_wide(root / "NUS-WIDE", concepts=["sky"])
    (root / "NUS-WIDE" / "AllTags1k.txt").write_text("0 " * 1000)

    placed = place("folder", root / "NUS-WIDE")

    assert len(read_truth(placed).images) == 3
    assert not [name for name in files(placed) if "Tags" in name]


def test_a_link_out_of_the_roots_is_not_followed(place, root, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("path,labels\na.jpg,cat\n")
    (root / "truth.csv").symlink_to(secret)

    with pytest.raises(TruthError, match=r"truth\.csv is a link"):
        place("folder", root)
    with pytest.raises(PathNotAllowed, match="readable file"):
        place("file", root / "truth.csv")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{root}/../x", "{root}", "{root}/none", "truth.csv"]
)
def test_every_other_file_gets_one_and_the_same_answer(place, root, path):
    with pytest.raises(PathNotAllowed, match="path must name a readable file"):
        place("file", path.format(root=root))
