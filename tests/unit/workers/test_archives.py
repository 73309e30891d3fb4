"""What a zip archive may not contain, seen in its directory or while it is unpacked."""

import io
import random
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.archives import ArchiveRejected, UnsupportedArchive, check_archive, unpack
from workers.settings import Settings

SETTINGS = Settings(redis_url=None)

#: Offsets of fields in an entry of the directory and in the header before a member's bytes.
FLAGS, METHOD, CRC, PACKED, UNPACKED, OFFSET = 8, 10, 16, 20, 24, 42
LOCAL_FLAGS, LOCAL_METHOD, LOCAL_NAME = 6, 8, 30


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content, compress_type=method)
    return bytearray(buffer.getvalue())


def entry(archive: bytes, index: int = 0) -> int:
    """Where the directory's entry of a member begins."""
    at = -1
    for _ in range(index + 1):
        at = archive.index(b"PK\x01\x02", at + 1)
    return at


def put(archive: bytearray, at: int, value: int, size: int) -> bytearray:
    archive[at : at + size] = value.to_bytes(size, "little")
    return archive


def large(archive: bytearray) -> bytearray:
    """The same archive, whose end leaves its numbers to the end of the large form."""
    for at, size in ((-14, 2), (-12, 2), (-10, 4), (-6, 4)):
        put(archive, len(archive) + at, 256**size - 1, size)
    return archive


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., list[tuple[str, bytes]]]:
    """Check an archive, unpack all of it, and give names and bytes."""

    def read(content: bytes, **settings: object) -> list[tuple[str, bytes]]:
        path = tmp_path / "upload.zip"
        path.write_bytes(content)
        contents = check_archive(path, SETTINGS.model_copy(update=settings))
        with path.open("rb") as file:
            return [(m.name, b"".join(unpack(file, m))) for m in contents.members]

    return read


def rejected(check: Callable[..., object], content: bytes, **settings: object) -> ArchiveRejected:
    with pytest.raises(ArchiveRejected) as caught:
        check(content, **settings)
    assert caught.value.code == "archive_rejected"
    return caught.value


# What passes


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_in_the_byte_order_of_their_names(check, method):
    noise = random.Random(0).randbytes(1_000_000)
    archive = zipped(("b/2.jpg", b"two"), ("a.jpg", noise), ("empty", b""), method=method)

    assert check(archive) == [("a.jpg", noise), ("b/2.jpg", b"two"), ("empty", b"")]


def test_folders_and_the_notes_of_macos_are_left_out_and_counted(tmp_path):
    path = tmp_path / "upload.zip"
    path.write_bytes(zipped(("a/", b""), ("a/1.jpg", b"1"), ("__MACOSX/a/._1.jpg", b"note")))

    contents = check_archive(path, SETTINGS)

    assert [m.name for m in contents.members] == ["a/1.jpg"]
    assert (contents.ignored, contents.unpacked) == (2, 1)


def test_names_are_read_as_utf_8_or_in_the_code_page_of_the_format(check):
    cat = "\N{CAT FACE}.jpg"
    assert check(zipped((cat, b"1"))) == [(cat, b"1")]
    latin = zipped(("u.jpg", b"1"))
    for at in (entry(latin) + 46, LOCAL_NAME):
        latin[at] = 0x81  # u with two dots in code page 437
    assert check(latin) == [("\xfc.jpg", b"1")]


def test_the_large_form_of_the_format_is_read(check, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 2)
    archive = large(zipped(("1.jpg", b"one"), ("2.jpg", b"three")))

    assert check(archive) == [("1.jpg", b"one"), ("2.jpg", b"three")]


def test_an_archive_with_a_comment_and_one_without_members_are_read(check):
    archive = zipped(("1.jpg", b"1"))
    comment = b"a comment PK\x05\x06 that looks like an end"
    put(archive, len(archive) - 2, len(comment), 2)

    assert check(archive + comment) == [("1.jpg", b"1")]
    assert check(zipped()) == []


def test_a_small_picture_in_one_colour_may_be_packed_tightly(check):
    assert check(zipped(("flat.bmp", bytes(60_000)))) == [("flat.bmp", bytes(60_000))]


# Evil names and kinds

EVIL_NAMES = [
    "../../x.jpg",
    "a/../../b.jpg",
    "..",
    "a/..",
    "/etc/passwd",
    "//host/share",
    "C:/x.jpg",
    "c:x.jpg",
    "..\\x.jpg",
    "a\\b.jpg",
    "\\\\host\\share\\x.jpg",
    "a\0.jpg",
]


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_an_evil_name_is_refused_and_named(check, name):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name

    error = rejected(check, zipped(("good.jpg", b"1"), (info, b"2")))

    assert error.member == name


def test_a_member_without_a_name_is_refused(check):
    info = zipfile.ZipInfo("placeholder")
    info.filename = ""

    assert rejected(check, zipped((info, b"1"))).reason == "has no name"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_link_or_device_is_refused(check, kind):
    info = zipfile.ZipInfo("link.jpg")
    info.external_attr = (kind | 0o777) << 16

    assert rejected(check, zipped((info, b"/etc/passwd"))).member == "link.jpg"


def test_an_encrypted_member_is_refused(check):
    archive = zipped(("1.jpg", b"1"))

    assert "encrypted" in rejected(check, put(archive, entry(archive) + FLAGS, 1, 2)).reason


def test_a_member_that_is_encrypted_only_where_it_lies_is_refused(check):
    assert "differs" in rejected(check, put(zipped(("1.jpg", b"1")), LOCAL_FLAGS, 1, 2)).reason


@pytest.mark.parametrize("method", [9, 12, 14, 93])
def test_other_methods_of_packing_are_refused(check, method):
    archive = zipped(("1.jpg", b"1"))

    error = rejected(check, put(archive, entry(archive) + METHOD, method, 2))

    assert f"method {method}" in error.reason


def test_a_name_that_is_there_twice_is_refused(check):
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zipped(("1.jpg", b"1"), ("1.jpg", b"2"))

    assert rejected(check, archive).reason == "is there twice"


# Too much


def test_a_bomb_is_refused_by_its_ratio(check):
    error = rejected(check, zipped(("zeros.bmp", bytes(1_000_000))))

    assert (error.member, "at most 200 times" in error.reason) == ("zeros.bmp", True)


def test_too_many_members_are_refused(check):
    archive = zipped(*((f"{i}.jpg", b"1") for i in range(4)))

    assert "4 members, at most 3" in rejected(check, archive, max_archive_members=3).reason


def test_more_members_than_the_end_says_are_refused(check):
    archive = zipped(*((f"{i}.jpg", b"1") for i in range(4)))

    assert "damaged" in rejected(check, put(archive, len(archive) - 12, 2, 2)).reason


def test_too_many_bytes_together_are_refused(check):
    archive = zipped(("1.jpg", b"x" * 60), ("2.jpg", b"x" * 60))

    assert "120 bytes, at most 100" in rejected(check, archive, max_archive_bytes=100).reason


def test_a_huge_directory_is_refused_unread(check):
    archive = zipped(("1.jpg", b"1"))

    error = rejected(check, put(archive, len(archive) - 10, 1 << 30, 4))

    assert "directory of 1,073,741,824 bytes" in error.reason


# Damaged and lying archives


def test_members_that_share_their_bytes_are_refused(check):
    archive = zipped(("1.jpg", b"1"), ("2.jpg", b"2"))

    error = rejected(check, put(archive, entry(archive, 1) + OFFSET, 0, 4))

    assert "overlaps" in error.reason


def test_a_member_that_reaches_into_the_directory_is_refused(check):
    archive = zipped(("1.jpg", b"1"), method=zipfile.ZIP_STORED)
    for field in (PACKED, UNPACKED):
        put(archive, entry(archive) + field, 1000, 4)

    assert "overlaps" in rejected(check, archive).reason


@pytest.mark.parametrize("declared", [0, 10, 999_999, 1_000_001])
def test_a_member_with_another_size_than_it_says_is_refused(check, declared):
    noise = random.Random(0).randbytes(1_000_000)
    archive = zipped(("1.jpg", noise))

    error = rejected(check, put(archive, entry(archive) + UNPACKED, declared, 4))

    assert error.reason == f"does not have the {declared:,} bytes it says"


def test_a_lying_bomb_is_stopped_at_the_size_it_says(tmp_path):
    path = tmp_path / "upload.zip"
    archive = zipped(("1.bmp", bytes(50_000_000)))
    path.write_bytes(put(archive, entry(archive) + UNPACKED, 1_000_000, 4))
    (member,) = check_archive(path, SETTINGS).members
    pieces = []

    with path.open("rb") as file, pytest.raises(ArchiveRejected):
        pieces.extend(len(piece) for piece in unpack(file, member))
    assert sum(pieces) <= 1_000_000


def test_a_wrong_checksum_is_refused(check):
    archive = zipped(("1.jpg", b"content"), method=zipfile.ZIP_STORED)

    archive[LOCAL_NAME + 7] ^= 1

    assert rejected(check, archive).reason == "has a wrong checksum"


def test_bytes_that_do_not_unpack_are_refused(check):
    archive = zipped(("1.jpg", b"content" * 100))
    archive[LOCAL_NAME + 5 : LOCAL_NAME + 15] = b"\xff" * 10

    assert rejected(check, archive).reason == "cannot be unpacked"


def test_a_member_that_lies_under_another_name_is_refused(check):
    archive = zipped(("1.jpg", b"1"))
    archive[LOCAL_NAME] = ord("2")

    assert "differs" in rejected(check, archive).reason


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_an_archive_that_is_cut_off_is_refused(check, keep):
    archive = zipped(("1.jpg", random.Random(0).randbytes(10_000)))

    assert "incomplete" in rejected(check, archive[: int(len(archive) * keep)]).reason


def test_part_of_an_archive_in_several_is_refused(check):
    archive = zipped(("1.jpg", b"1"))

    assert "several" in rejected(check, put(archive, len(archive) - 18, 1, 2)).reason


def test_a_damaged_large_form_is_refused(check, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    archive = large(zipped(("1.jpg", b"1")))
    archive[archive.index(b"PK\x06\x06")] = 0

    assert "damaged" in rejected(check, archive).reason


def test_a_directory_further_away_than_any_file_is_long_is_refused(check, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    archive = large(zipped(("1.jpg", b"1")))
    archive[-50:-42] = b"\xff" * 8  # its place, the last of the record before locator and end

    assert "damaged" in rejected(check, archive).reason


def test_random_damage_is_refused_or_gives_the_right_bytes(check):
    members = [(f"{i}.jpg", random.Random(i).randbytes(300)) for i in range(3)]
    whole = zipped(*members)
    rng = random.Random(7)
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            found = check(damaged)
        except (ArchiveRejected, UnsupportedArchive):
            continue
        assert {zlib.crc32(content) for _, content in found} <= {
            zlib.crc32(content) for _, content in members
        }


# Other archives


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("1.jpg"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [tar(), b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"", b"P", b"\xff\xd8\xff"],
    ids=["tar", "rar", "7z", "nothing", "one byte", "jpeg"],
)
def test_what_is_no_zip_is_unsupported(check, content):
    with pytest.raises(UnsupportedArchive) as caught:
        check(content)

    assert caught.value.code == "unsupported_archive"
