"""Which folders of the server may be read, and what a walk finds in them."""

import os
import socket
from pathlib import Path

import pytest

from workers import paths
from workers.files import DataFolder
from workers.paths import (
    FileRefused,
    PathNotAllowed,
    allowed_file,
    allowed_folder,
    open_regular,
    walk,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The only allowed root, with one folder in it; a secret lies beside it."""
    (tmp_path / "root" / "photos").mkdir(parents=True)
    (tmp_path / "root-secret").mkdir()
    (tmp_path / "root-secret" / "key").write_text("secret")
    return (tmp_path / "root").resolve()


@pytest.fixture
def photos(root: Path) -> Path:
    return root / "photos"


def names(top: Path, root: Path) -> list[str]:
    return [found.name for found in walk(top, [root]) if found.refusal is None]


def refusals(top: Path, root: Path) -> dict[str, str]:
    found = [found for found in walk(top, [root]) if found.refusal is not None]
    return {f.name: f.refusal.code for f in found}


def fill(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


# Which folders


def test_a_root_and_what_lies_below_it_are_allowed(root, photos):
    assert allowed_folder(str(root), [root]) == root
    assert allowed_folder(f"{photos}/", [root]) == photos


def test_links_are_resolved_before_the_path_is_compared(root, photos):
    (root / "inside").symlink_to(photos)

    assert allowed_folder(str(root / "inside"), [root]) == photos


@pytest.mark.parametrize(
    "path",
    [
        "{root}/../root-secret",
        "{root}-secret",
        "{root}/escape",
        "{root}/missing",
        "{root}/../missing",
        "{root}/loop",
        "{root}/file",
        "{root}/nul\0",
        "photos",
        "",
        "/",
        "/proc/self",
        "/etc",
    ],
)
def test_every_other_path_gets_one_and_the_same_answer(root, path):
    (root / "escape").symlink_to(root.parent / "root-secret")
    (root / "loop").symlink_to(root / "loop")
    (root / "file").write_text("x")

    with pytest.raises(PathNotAllowed) as caught:
        allowed_folder(path.format(root=root), [root])

    assert str(caught.value) == str(PathNotAllowed())


def test_a_folder_that_cannot_be_listed_is_not_allowed(root, monkeypatch):
    def forbidden(path):
        raise PermissionError

    monkeypatch.setattr(os, "scandir", forbidden)  # root itself may list anything

    with pytest.raises(PathNotAllowed):
        allowed_folder(str(root), [root])


def test_without_roots_nothing_is_allowed(root):
    with pytest.raises(PathNotAllowed):
        allowed_folder(str(root), [])


# What a walk finds


def test_a_walk_is_recursive_and_in_the_byte_order_of_whole_names(root, photos):
    fill(photos, "b.jpg", "a/z.jpg", "a/b/c.jpg", "a-b.jpg", "a.jpg", "B.jpg", "empty/x/y/1")

    found = names(photos, root)

    assert found == sorted(found)
    assert found == ["B.jpg", "a-b.jpg", "a.jpg", "a/b/c.jpg", "a/z.jpg", "b.jpg", "empty/x/y/1"]


def test_names_that_are_no_text_are_shown_with_escapes_and_kept_raw(root, photos):
    odd = [b"\xff.jpg", b"new\nline.jpg", "\N{CAT FACE}.jpg".encode(), b"n" * 255, b"\xe2\x80\xae"]
    for name in odd:
        Path(os.fsdecode(os.fsencode(photos) + b"/" + name)).write_bytes(b"x")

    found = list(walk(photos, [root]))

    assert sorted(f.raw for f in found) == sorted(odd)
    assert {f.name for f in found} >= {"\\xff.jpg", "new\nline.jpg", "\N{CAT FACE}.jpg"}
    assert all(Path(os.fsdecode(f.path)).read_bytes() == b"x" for f in found)


def test_a_deep_folder_is_walked(root, photos):
    here = os.open(photos, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)

    assert names(photos, root) == ["d/" * 300 + "file"]


def test_links_that_stay_inside_are_followed(root, photos):
    fill(root, "more/1.jpg", "more/sub/2.jpg", "other/3.jpg")
    (photos / "file.jpg").symlink_to("../other/3.jpg")
    (photos / "more").symlink_to(root / "more")

    found = {f.name: f for f in walk(photos, [root])}

    assert list(found) == ["file.jpg", "more/1.jpg", "more/sub/2.jpg"]
    assert found["file.jpg"].path == os.fsencode(root / "other" / "3.jpg")


def test_links_that_lead_out_are_refused_whether_or_not_something_is_there(root, photos):
    (photos / "file").symlink_to(root.parent / "root-secret" / "key")
    (photos / "folder").symlink_to(root.parent / "root-secret")
    (photos / "nothing").symlink_to(root.parent / "root-secret" / "missing")
    (photos / "dangling").symlink_to("missing")

    assert names(photos, root) == []
    assert set(refusals(photos, root).values()) == {"link_outside"}
    assert len({str(f.refusal) for f in walk(photos, [root])}) == 1


def test_a_link_into_a_folder_that_is_walked_anyway_is_refused(root, photos):
    fill(photos, "sub/1.jpg")
    fill(root, "more/2.jpg")
    (photos / "again").symlink_to("sub")
    (photos / "sub" / "up").symlink_to("..")
    (photos / "upper").symlink_to(root)
    (photos / "w1").symlink_to(root / "more")
    (photos / "w2").symlink_to(root / "more")

    assert names(photos, root) == ["sub/1.jpg", "w1/2.jpg"]
    assert refusals(photos, root) == dict.fromkeys(
        ["again", "sub/up", "upper", "w2"], "link_repeated"
    )


def test_a_folder_that_cannot_be_listed_is_reported_and_the_walk_goes_on(root, photos, monkeypatch):
    fill(photos, "a/1.jpg", "b/2.jpg")
    listing = paths._listing

    def forbidden(folder):
        if folder.endswith(b"/a"):
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(paths, "_listing", forbidden)

    assert names(photos, root) == ["b/2.jpg"]
    assert refusals(photos, root) == {"a": "unreadable"}


# How a file is opened


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # the path of a socket must be short
        server.bind(path.name)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (os.mkfifo, "not_a_file"),
        (make_socket, "unreadable"),
        (Path.mkdir, "not_a_file"),
        (lambda p: p.symlink_to("/etc/hostname"), "unreadable"),
        (lambda p: p.symlink_to("/dev/zero"), "unreadable"),
        (lambda p: None, "unreadable"),
    ],
    ids=["pipe", "socket", "folder", "link to a file", "link to a device", "missing"],
)
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, monkeypatch, make, code):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd")

    with pytest.raises(FileRefused) as caught:
        open_regular(os.fsencode(tmp_path / "odd"))

    assert caught.value.code == code


def test_a_device_is_refused():
    with pytest.raises(FileRefused, match="device"):
        open_regular(b"/dev/zero")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(20_000_000_000)

    with pytest.raises(FileRefused, match=r"20,000,000,000 bytes") as caught:
        open_regular(os.fsencode(tmp_path / "huge"))

    assert caught.value.code == "too_large"


@pytest.mark.parametrize("inside", ["", "datasets/ds_1/data/images"])
def test_the_data_folder_of_a_service_is_never_a_source(root, photos, inside):
    """Not even where it lies below an allowed folder: it has what others uploaded."""
    data = DataFolder(photos / "service")
    data.create()
    folder = data.root / inside
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "theirs.jpg").write_bytes(b"x")
    (photos / "link").symlink_to(folder)

    with pytest.raises(PathNotAllowed):
        allowed_folder(str(folder), [root])
    with pytest.raises(PathNotAllowed):
        allowed_file(str(folder / "theirs.jpg"), [root])
    found = {file.name: file.refusal for file in walk(photos, [root])}
    assert found["service"].code == "services_own"
    assert found["link"].code == "link_outside"
    assert not any("theirs" in name for name in found)
