"""Folders, archives and uploads become the same dataset; every unusable file has its reason."""

import hashlib
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyarrow.parquet import ParquetFile

from models.images import FORMATS
from workers import sources
from workers.archives import ArchiveRejected
from workers.files import DataFolder, DiskFull
from workers.jobs import Kind
from workers.listing import Listing
from workers.paths import FileRefused, FoundFile, PathNotAllowed
from workers.register import RegisterFailed, register
from workers.rows import content_files, manifest_rows
from workers.sandbox import DECODER, Inspected
from workers.settings import Settings

#: Takes what begins with IMG for an image. Starts in a tenth of the time of the real one.
PLAIN_DECODER = """
import os
from types import SimpleNamespace

class Refused(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code

def inspect(data, *, max_pixels):
    if data.startswith(b"DIE"):
        os.abort()
    if data.startswith(b"CUT"):
        raise Refused("truncated")
    if not data.startswith(b"IMG"):
        raise Refused("unsupported_format")
    return SimpleNamespace(width=len(data), height=2, format="PNG", notes=("alpha", "palette"))
"""


class Bench:
    """A data folder, an allowed root with one folder of files, and a way to register it."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = DataFolder(tmp_path / "data")
        self.folder.create()
        self.photos = tmp_path / "root" / "photos"
        self.photos.mkdir(parents=True)
        self.settings = Settings(
            data=self.folder.root,
            allowed_roots=[tmp_path / "root"],
            threads=1,
            max_pixels=1_000_000,
        )
        self.decoder = "plain:inspect"

    def fill(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            (self.photos / name).parent.mkdir(parents=True, exist_ok=True)
            (self.photos / name).write_bytes(content)

    def own(self, dataset_id: str) -> Path:
        path = self.folder.of(Kind.DATASET, dataset_id)
        path.mkdir(exist_ok=True)
        return path

    def zip(self, dataset_id: str) -> dict[str, str]:
        with zipfile.ZipFile(self.own(dataset_id) / "upload.zip", "w") as archive:
            for path in sorted(self.photos.rglob("*"), reverse=True):
                archive.write(path, path.relative_to(self.photos))
        return {"kind": "archive", "path": "upload.zip"}

    def upload(self, dataset_id: str, files: list[tuple[str, bytes]]) -> dict[str, str]:
        upload = self.own(dataset_id) / "upload"
        upload.mkdir()
        rows = []
        for i, (name, content) in enumerate(files):
            (upload / f"{i:06d}").write_bytes(content)
            rows.append(json.dumps({"file": f"{i:06d}", "name": name}) + "\n")
        (upload / "names.ndjson").write_text("".join(rows))
        return {"kind": "files", "path": "upload"}

    def register(
        self,
        source: Mapping[str, str] | None = None,
        dataset_id: str = "ds_1",
        *,
        on_files: Callable[[int, int], None] = lambda done, total: None,
        **request: Any,
    ) -> dict[str, Any]:
        self.own(dataset_id)
        return register(
            dataset_id,
            {"source": source or {"kind": "folder", "path": str(self.photos)}, **request},
            folder=self.folder,
            nonce="n1",
            settings=self.settings,
            on_files=on_files,
            decoder=self.decoder,
        )

    def rows(self, dataset_id: str = "ds_1") -> list[dict[str, Any]]:
        return manifest_rows(self.folder.dataset(dataset_id) / "manifest.parquet", 0, 10**6)

    def skipped(self, dataset_id: str = "ds_1") -> dict[str, str]:
        lines = self.folder.skipped(dataset_id).read_text().splitlines()
        return {row["path"]: row["code"] for row in map(json.loads, lines)}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "plain.py").write_text(PLAIN_DECODER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    return Bench(tmp_path)


def picture(format: str, size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (9, 99, 199)).save(buffer, format, **options)
    return buffer.getvalue()


# With the real decoder


def test_every_unusable_file_has_its_reason(bench):
    noise = io.BytesIO()
    pixels = random.Random(0).randbytes(64 * 64 * 3)
    Image.frombytes("RGB", (64, 64), pixels).save(noise, "JPEG")
    frames = [Image.new("RGB", (8, 6), (i, 0, 0)) for i in range(3)]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    bench.fill(
        {
            "good/a.jpg": picture("JPEG"),
            "good/b.png": picture("PNG"),
            "good/c.webp": picture("WEBP"),
            "good/d.bmp": picture("BMP"),
            "good/e.tiff": picture("TIFF"),
            "good/animated.gif": animated.getvalue(),
            "good/renamed.txt": picture("JPEG"),
            "bad/cut.jpg": noise.getvalue()[:2000],
            "bad/empty.jpg": b"",
            "bad/letter.jpg": b"dear reader",
            "bad/page.pdf": b"%PDF-1.7",
            "bad/huge.png": picture("PNG", (1001, 1000)),
            "bad/header.png": b"\x89PNG\r\n\x1a\n" + b"?" * 40,
        }
    )
    (bench.photos / "bad" / "link.jpg").symlink_to("/etc/hostname")
    os.mkfifo(bench.photos / "bad" / "pipe")
    bench.decoder = DECODER

    facts = bench.register(max_bad_fraction=1)

    assert bench.skipped() == {
        "bad/cut.jpg": "truncated",
        "bad/empty.jpg": "empty_file",
        "bad/header.png": "undecodable",
        "bad/huge.png": "too_large",
        "bad/letter.jpg": "unsupported_format",
        "bad/link.jpg": "link_outside",
        "bad/page.pdf": "unsupported_format",
        "bad/pipe": "not_a_file",
    }
    assert {row["path"]: (row["format"], row["width"], row["height"]) for row in bench.rows()} == {
        "good/a.jpg": ("JPEG", 8, 6),
        "good/animated.gif": ("GIF", 8, 6),
        "good/b.png": ("PNG", 8, 6),
        "good/c.webp": ("WEBP", 8, 6),
        "good/d.bmp": ("BMP", 8, 6),
        "good/e.tiff": ("TIFF", 8, 6),
        "good/renamed.txt": ("JPEG", 8, 6),
    }
    assert facts["counts"] == {
        "found": 15,
        "accepted": 7,
        "skipped": 8,
        "duplicates": 1,
        "distinct": 6,
        "ignored": 0,
    }
    assert facts["formats"] == {"BMP": 1, "GIF": 1, "JPEG": 2, "PNG": 1, "TIFF": 1, "WEBP": 1}
    assert facts["reasons"]["unsupported_format"] == 2


# What a dataset holds


def test_a_row_tells_name_digest_size_and_identity(bench):
    bench.fill({"a/1.png": b"IMG one"})

    bench.register()

    digest = hashlib.sha256(b"IMG one").hexdigest()
    identity = hashlib.sha256(b"a/1.png\0" + digest.encode()).hexdigest()
    assert bench.rows() == [
        {
            "image_id": "img_" + identity[:24],
            "path": "a/1.png",
            "path_raw": b"a/1.png",
            "sha256": digest,
            "bytes": 7,
            "width": 7,
            "height": 2,
            "format": "PNG",
            "content": 0,
            "notes": ["alpha", "palette"],
        }
    ]


def test_files_with_the_same_bytes_share_their_content(bench):
    bench.fill({"a": b"IMG 1", "b": b"IMG 2", "c": b"IMG 1", "d": b"IMG 3", "e": b"IMG 2"})

    facts = bench.register()

    assert [row["content"] for row in bench.rows()] == [0, 1, 0, 2, 1]
    assert (facts["counts"]["distinct"], facts["counts"]["duplicates"]) == (3, 2)
    digests = b"".join(hashlib.sha256(b"IMG %d" % i).digest() for i in (1, 2, 3))
    assert facts["images_digest"] == hashlib.sha256(digests).hexdigest()
    assert facts["bytes"] == 25


def test_folder_archive_and_upload_of_the_same_files_give_the_same_bytes(bench):
    bench.fill({f"{i}.png": b"IMG %d" % (i % 20) for i in range(40)} | {"x.jpg": b"no"})
    files = [(path.name, path.read_bytes()) for path in bench.photos.iterdir()]

    facts = [
        bench.register(None, "ds_folder"),
        bench.register(bench.zip("ds_zip"), "ds_zip"),
        bench.register(bench.upload("ds_files", files), "ds_files"),
    ]

    assert facts[0] == facts[1] == facts[2]
    published = [bench.folder.dataset(f"ds_{kind}") for kind in ("folder", "zip", "files")]
    for name in ("manifest.parquet", "skipped.ndjson"):
        assert len({(path / name).read_bytes() for path in published}) == 1
    for path in published:
        images, digests = content_files(path)
        assert len(images) == 20
        assert [hashlib.sha256(i.read_bytes()).hexdigest() for i in images] == list(digests)


def test_the_number_of_children_changes_no_byte(bench):
    bench.fill({f"{i}.png": b"IMG %d" % (i % 30) for i in range(50)})
    bench.register(None, "ds_1")
    bench.settings = bench.settings.model_copy(update={"threads": 3})
    bench.register(None, "ds_2")

    one, three = (bench.folder.dataset(i) / "MANIFEST.json" for i in ("ds_1", "ds_2"))
    assert one.read_bytes() == three.read_bytes()


def test_names_that_are_no_text_are_kept_raw_and_shown_with_escapes(bench):
    names = [b"\xff.jpg", b"new\nline.jpg", b"n" * 255, "\N{CAT FACE}".encode()]
    for name in names:
        Path(os.fsdecode(os.fsencode(bench.photos) + b"/" + name)).write_bytes(b"IMG" + name)

    bench.register()

    assert {row["path_raw"]: row["path"] for row in bench.rows()} == {
        b"\xff.jpg": "\\xff.jpg",
        b"new\nline.jpg": "new\nline.jpg",
        b"n" * 255: "n" * 255,
        "\N{CAT FACE}".encode(): "\N{CAT FACE}",
    }


def test_uploads_of_one_name_are_told_apart(bench):
    files = [("1.jpg", b"IMG 1"), ("1.jpg", b"IMG 1"), ("../1.jpg", b"IMG 2"), ("", b"IMG 3")]

    bench.register(bench.upload("ds_1", files))

    assert [row["path"] for row in bench.rows()] == ["", "../1.jpg", "1.jpg", "1 (2).jpg"]
    assert len({row["image_id"] for row in bench.rows()}) == 4


def test_a_file_that_kills_the_decoder_is_skipped(bench):
    bench.fill({"1.png": b"IMG 1", "2.png": b"DIE", "3.png": b"IMG 3"})

    facts = bench.register(max_bad_fraction=0.5)

    assert bench.skipped() == {"2.png": "decoder_crashed"}
    assert facts["counts"]["accepted"] == 2


# What is left behind


def test_a_folder_on_the_server_is_neither_copied_nor_changed(bench):
    bench.fill({"1.png": b"IMG 1"})

    bench.register()

    assert [path.name for path in bench.photos.iterdir()] == ["1.png"]
    published = bench.folder.dataset("ds_1")
    assert not (published / "images").exists()
    assert content_files(published)[0][0] == bench.photos / "1.png"


@pytest.mark.parametrize("kind", ["archive", "files"])
def test_an_upload_is_deleted_and_its_distinct_images_are_kept(bench, kind):
    bench.fill({"1.png": b"IMG 1", "2.png": b"IMG 1", "3.png": b"IMG 3", "4.txt": b"?"})
    files = [(path.name, path.read_bytes()) for path in bench.photos.iterdir()]
    source = bench.zip("ds_1") if kind == "archive" else bench.upload("ds_1", files)

    bench.register(source)

    images = bench.folder.dataset("ds_1") / "images"
    assert {path.name: path.read_bytes() for path in images.iterdir()} == {
        "00000000": b"IMG 1",
        "00000001": b"IMG 3",
    }
    assert [path.name for path in bench.own("ds_1").iterdir()] == ["data"]
    assert list(bench.folder.staging_root.iterdir()) == []


def test_a_dataset_that_is_there_is_not_registered_again(bench):
    bench.fill({"1.png": b"IMG 1"})
    source = bench.zip("ds_1")
    facts = bench.register(source)
    bench.decoder = "missing:inspect"

    assert bench.register(source) == facts


def test_progress_counts_every_file_and_may_stop_the_registration(bench):
    bench.fill({f"{i}.png": b"IMG %d" % i for i in range(20)})
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        assert total == 20
        seen.append(done)
        if done == 12:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        bench.register(bench.zip("ds_1"), on_files=stop)

    assert seen == list(range(1, 13))
    assert sorted(path.name for path in bench.own("ds_1").iterdir()) == ["upload.zip"]
    assert list(bench.folder.staging_root.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "archive", "files", "list"])
def test_files_are_counted_before_the_first_is_looked_at(bench, monkeypatch, kind):
    monkeypatch.setattr("workers.sources.COUNTED_AT_ONCE", 2)
    files = {"a.png": b"IMG1", "b/c.png": b"IMG2", "note.txt": b"no picture"}
    bench.fill(files)
    source = {
        "folder": lambda: None,
        "archive": lambda: bench.zip("ds_1"),
        "files": lambda: bench.upload("ds_1", list(files.items())),
        "list": lambda: {"kind": "list", "paths": [str(bench.photos / name) for name in files]},
    }[kind]()
    seen: list[tuple[int, int]] = []

    bench.register(source, on_files=lambda *now: seen.append(now))

    counting = [(0, 0)] if kind == "folder" else []
    assert seen == [*counting, (1, 3), (2, 3), (3, 3)]


# What fails


def failed(bench: Bench, *args: Any, **request: Any) -> RegisterFailed:
    with pytest.raises(RegisterFailed) as caught:
        bench.register(*args, **request)
    assert not bench.folder.dataset("ds_1").exists()
    assert list(bench.folder.staging_root.iterdir()) == []
    return caught.value


@pytest.mark.parametrize("files", [{}, {"1.txt": b"?", "2.jpg": b"?"}, {"1.jpg": b"CUT"}])
def test_without_a_usable_image_there_is_no_dataset(bench, files):
    bench.fill(files)

    error = failed(bench, max_bad_fraction=1)

    assert error.code == "no_images"
    assert str(error).startswith(f"none of the {len(files)} files in {bench.photos} is an image")
    assert ", ".join(FORMATS) in error.hint
    assert set(bench.skipped()) == set(files)


def ten_images(bad: int) -> dict[str, bytes]:
    return {f"{i}.jpg": b"CUT" if i < bad else b"IMG %d" % i for i in range(10)}


def test_more_than_a_fifth_of_bad_images_is_too_much(bench):
    bench.fill(ten_images(bad=3))

    error = failed(bench)

    assert error.code == "too_many_bad_images"
    assert str(error) == "3 of 10 images cannot be used (truncated 3), at most 20% may be unusable"
    assert bench.skipped() == dict.fromkeys(["0.jpg", "1.jpg", "2.jpg"], "truncated")


def test_a_fifth_of_bad_images_is_not_too_much(bench):
    bench.fill(ten_images(bad=2))

    assert bench.register()["counts"]["accepted"] == 8


def test_the_request_may_allow_more_bad_images_or_fewer(bench):
    bench.fill(ten_images(bad=2))

    assert failed(bench, max_bad_fraction=0).code == "too_many_bad_images"
    assert bench.register(max_bad_fraction=0.2)["counts"]["skipped"] == 2


def test_notes_beside_the_images_are_no_bad_images(bench):
    bench.fill({"1.png": b"IMG 1", "1.txt": b"?", "labels.csv": b"?", "Thumbs.db": b"?"})

    assert bench.register()["counts"] == {
        "found": 4,
        "accepted": 1,
        "skipped": 3,
        "duplicates": 0,
        "distinct": 1,
        "ignored": 0,
    }


def test_a_folder_that_is_no_longer_allowed_is_not_read(bench):
    bench.fill({"1.png": b"IMG 1"})
    shutil.rmtree(bench.photos)
    bench.photos.symlink_to("/etc")

    with pytest.raises(PathNotAllowed):
        bench.register()


def test_an_archive_with_a_wrong_checksum_is_rejected_whole(bench):
    bench.fill({"1.png": b"IMG 1", "2.png": b"IMG 2"})
    source = bench.zip("ds_1")
    path = bench.own("ds_1") / "upload.zip"
    path.write_bytes(path.read_bytes().replace(b"IMG 2", b"IMG 3"))

    with pytest.raises(ArchiveRejected, match=r"'2\.png' has a wrong checksum"):
        bench.register(source)
    assert not bench.folder.dataset("ds_1").exists()
    assert list(bench.folder.staging_root.iterdir()) == []


def test_an_archive_without_room_to_unpack_is_a_full_disk(bench, monkeypatch):
    bench.fill({"1.png": b"IMG 1"})
    monkeypatch.setattr(sources, "free_bytes", lambda folder: 4)

    with pytest.raises(DiskFull, match="unpacks to 5 bytes, 4 are free"):
        bench.register(bench.zip("ds_1"))


# The list as it is written


def write_listing(folder: Path, images: int) -> dict[str, Any]:
    with Listing(folder) as listing:
        for i in range(images):
            file = FoundFile(b"%d.jpg" % i, f"{i}.jpg")
            digest = hashlib.sha256(b"%d" % (i // 2)).hexdigest()
            is_new = listing.add(file, Inspected(digest, 10, 4, 3, "JPEG", ()))
            assert is_new == (None if i % 2 else i // 2)
        listing.skip(FoundFile(b"\xff", "\\xff"), FileRefused("unreadable", "cannot"))
        return listing.facts()


def test_the_list_is_written_in_blocks_of_4096_rows(tmp_path):
    write_listing(tmp_path, 10_000)

    with ParquetFile(tmp_path / "manifest.parquet") as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes == [4096, 4096, 1808]


def test_an_empty_list_can_be_read(tmp_path):
    write_listing(tmp_path, 0)

    assert manifest_rows(tmp_path / "manifest.parquet", 0, 10) == []
    row = {"path": "\\xff", "code": "unreadable", "message": "cannot"}
    assert json.loads((tmp_path / "skipped.ndjson").read_text()) == row


# Several folders, and lists of files


def test_several_folders_are_one_dataset_with_names_below_what_holds_them(bench):
    bench.fill({"b/1.png": b"IMG1", "a/x/2.png": b"IMG2", "a/3.png": b"IMG3", "c/4.png": b"IMG4"})
    paths = [str(bench.photos / name) for name in ("b", "a")]

    bench.register({"kind": "folders", "paths": paths}, "ds_two")

    assert [row["path"] for row in bench.rows("ds_two")] == ["a/3.png", "a/x/2.png", "b/1.png"]
    found, _ = content_files(bench.folder.dataset("ds_two"))
    assert sorted(path.read_bytes() for path in found) == [b"IMG1", b"IMG2", b"IMG3"]


def test_one_of_several_folders_is_that_folder(bench):
    bench.fill({"1.png": b"IMG1", "b/2.png": b"IMG2"})

    one = bench.register({"kind": "folders", "paths": [str(bench.photos)]}, "ds_one")

    assert one == bench.register(dataset_id="ds_folder")
    assert bench.rows("ds_one") == bench.rows("ds_folder")


@pytest.mark.parametrize("inner", ["a", "a/x", "link"])
def test_a_folder_inside_another_is_refused(bench, inner):
    bench.fill({"a/x/1.png": b"IMG1"})
    (bench.photos / "link").symlink_to(bench.photos / "a" / "x")
    paths = [str(bench.photos / "a"), str(bench.photos / inner)]

    with pytest.raises(sources.FoldersOverlap) as found:
        bench.register({"kind": "folders", "paths": paths})

    assert found.value.inner == 1


def test_listed_files_alone_are_registered_and_once(bench):
    bench.fill({"1.png": b"IMG1", "a/2.png": b"IMG2", "a/3.png": b"IMG3"})
    paths = [str(bench.photos / name) for name in ("a/3.png", "1.png", "a/3.png")]

    facts = bench.register({"kind": "list", "paths": paths})

    assert [row["path"] for row in bench.rows()] == ["1.png", "a/3.png"]
    assert (facts["counts"]["found"], facts["counts"]["ignored"]) == (2, 1)
    found, _ = content_files(bench.folder.dataset("ds_1"))
    assert [path.read_bytes() for path in found] == [b"IMG1", b"IMG3"]


def test_a_file_may_list_them_and_what_may_not_be_read_is_skipped_by_its_line(bench):
    bench.fill({"1.png": b"IMG1", "a/\udcff.png": b"IMG2"})
    lines = [b"1.png\r", b"", b"/etc/hostname", b"../../secret", b"gone.png", b"a", b"a/\xff.png"]
    (bench.photos / "night.txt").write_bytes(b"\n".join(lines))

    bench.register({"kind": "list", "file": str(bench.photos / "night.txt")}, max_bad_fraction=1.0)

    assert [row["path"] for row in bench.rows()] == ["1.png", "a/\\xff.png"]
    refused = [f"night.txt, line {n}" for n in (3, 4, 5, 6)]
    assert bench.skipped() == dict.fromkeys(refused, "path_not_allowed")


def test_a_list_of_nothing_that_can_be_read_makes_no_dataset(bench):
    with pytest.raises(RegisterFailed) as found:
        bench.register({"kind": "list", "paths": [str(bench.photos / "gone.png")]})

    assert found.value.code == "no_images"
