"""Damaged images and archives by the thousand: each has its verdict, and nothing else happens."""

import io
import os
import random
import struct
import zipfile
from collections import Counter

import pytest
from PIL import Image

from workers.archives import ArchiveRejected, UnsupportedArchive
from workers.paths import FileRefused, FoundFile
from workers.sandbox import Inspected, Sandbox
from workers.settings import Settings
from workers.sources import Archive

SEED = 20261129
#: What a file may be refused as; `decoder_crashed` would be contained, but is a bug worth a look.
REFUSALS = {
    "empty_file",
    "truncated",
    "undecodable",
    "unsupported_format",
    "too_large",
    "too_small",
}
#: Numbers at which readers stumble.
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(whole, rng, *, most=4):
    """`whole` with damage in one to `most` places."""
    content = bytearray(whole)
    for _ in range(rng.randint(1, most)):
        if content:
            rng.choice(DAMAGES)(content, rng)
    return bytes(content)


def flip_bits(content, rng):
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def set_edge(content, rng):
    form = rng.choice(["<B", "<H", ">H", "<L", ">L"])
    size = struct.calcsize(form)
    if size < len(content):
        value = rng.choice(EDGES) % (1 << 8 * size)
        struct.pack_into(form, content, rng.randrange(len(content) - size), value)


def set_edge_at_the_front(content, rng):
    front = content[:64]
    set_edge(front, rng)
    content[:64] = front


def cut(content, rng):
    del content[rng.randrange(len(content)) :]


def leave_out(content, rng):
    at = rng.randrange(len(content))
    del content[at : at + rng.randint(1, 64)]


def repeat(content, rng):
    at = rng.randrange(len(content))
    content[at:at] = content[at : at + rng.randint(1, 64)] * rng.randint(1, 4)


def put_in(content, rng):
    content[rng.randrange(len(content)) : 0] = rng.randbytes(rng.randint(1, 32))


def swap(content, rng):
    at, other, size = rng.randrange(len(content)), rng.randrange(len(content)), rng.randint(1, 32)
    content[at : at + size], content[other : other + size] = (
        content[other : other + size],
        content[at : at + size],
    )


DAMAGES = (*(flip_bits, set_edge, set_edge_at_the_front, cut, leave_out, repeat, put_in, swap),)


# Images


def drawn(rng, mode="RGB", size=(24, 17)):
    image = Image.new("RGB", size)
    image.putdata([(x * 9 % 256, rng.randrange(256), x % 256) for x in range(size[0] * size[1])])
    return image.convert(mode)


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def whole_images():
    rng = random.Random(SEED)
    exif = Image.Exif()
    exif[0x0112] = 6
    colours, frames = drawn(rng), [drawn(rng, "P") for _ in range(3)]
    return [
        saved(colours, "JPEG", exif=exif),
        saved(colours, "JPEG", progressive=True),
        saved(drawn(rng, "CMYK"), "JPEG"),
        saved(colours, "PNG"),
        saved(drawn(rng, "P"), "PNG", bits=4),
        saved(drawn(rng, "L"), "PNG", optimize=True),
        saved(drawn(rng, "RGBA"), "WEBP"),
        saved(colours, "WEBP", lossless=True),
        saved(colours, "BMP"),
        saved(drawn(rng, "P"), "GIF"),
        saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        saved(colours, "TIFF"),
        saved(colours, "TIFF", compression="tiff_lzw"),
        saved(colours, "TIFF", compression="jpeg"),
        saved(drawn(rng, "1"), "TIFF", compression="group4"),
    ]


def damaged_images(count, folder):
    """Written as they are asked for."""
    wholes, rng = whole_images(), random.Random(SEED)
    for number in range(count):
        path = folder / f"{number}"
        path.write_bytes(mutated(wholes[number % len(wholes)], rng))
        yield FoundFile(path.name.encode(), path.name, os.fsencode(path))


def judge(files):
    """How often each verdict was given."""
    with Sandbox(max_pixels=1_000_000, children=2) as sandbox:
        return Counter(
            verdict.code if isinstance(verdict, FileRefused) else type(verdict)
            for _, verdict in sandbox.verdicts(files)
        )


def check_images(count, folder):
    found = judge(damaged_images(count, folder))

    assert found.total() == count
    assert set(found) <= REFUSALS | {Inspected}
    assert found[Inspected] > count / 50  # some damage does not show
    assert found["undecodable"] + found["truncated"] > count / 10


def test_three_hundred_damaged_images_have_their_verdicts(tmp_path):
    check_images(300, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_damaged_images_have_their_verdicts(tmp_path):
    check_images(10_000, tmp_path)


# Archives


def large(content):
    """The same archive in the form for more than 4 GB."""
    end = content.rindex(b"PK\x05\x06")
    _, _, _, count, _, size, start, _ = struct.unpack_from("<4s4H2LH", content, end)
    sizes = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    short = b"PK\x05\x06" + b"\0" * 4 + b"\xff" * 12 + b"\0\0"
    return content[:end] + sizes + locator + short


def whole_archives():
    images = whole_images()
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression=method) as archive:
            for number, image in enumerate(images[:4]):
                archive.writestr(f"photos/{number}é.jpg", image)
        made += [file.getvalue(), large(file.getvalue())]
    return made


def damaged_archive(whole, rng):
    """Anywhere, or in its directory alone, where readers believe what they are told."""
    at = rng.choice([0, whole.index(b"PK\x01\x02")])
    return whole[:at] + mutated(whole[at:], rng, most=2)


def members_of(count, folder, settings, ends):
    """The files of damaged archives, as they are unpacked; `ends` counts how each one ended."""
    wholes, rng = whole_archives(), random.Random(SEED)
    for number in range(count):
        staging = folder / str(number)
        (staging / "images").mkdir(parents=True)
        path = staging / "a.zip"
        path.write_bytes(damaged_archive(wholes[number % len(wholes)], rng))
        try:
            yield from Archive(path, staging, settings).files()
        except (ArchiveRejected, UnsupportedArchive) as error:
            ends[error.code] += 1
        else:
            ends["taken"] += 1
        outside = {item.name for item in folder.iterdir()} - {str(n) for n in range(count)}
        assert not outside


def check_archives(count, folder):
    settings, ends = Settings(data=folder / "0", max_archive_bytes=10_000_000), Counter()
    found = judge(members_of(count, folder, settings, ends))

    assert ends.total() == count
    assert ends["archive_rejected"] > count / 4
    assert ends["taken"] > count / 200
    assert set(found) <= REFUSALS | {Inspected}


def test_a_hundred_damaged_archives_are_refused_or_taken(tmp_path):
    check_archives(100, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_thousand_damaged_archives_are_refused_or_taken(tmp_path):
    check_archives(2000, tmp_path)


def test_the_large_form_of_a_whole_archive_is_taken(tmp_path):
    for number, content in enumerate(whole_archives()):
        (tmp_path / f"{number}.zip").write_bytes(content)
        (tmp_path / str(number) / "images").mkdir(parents=True)
        source = Archive(tmp_path / f"{number}.zip", tmp_path / str(number), Settings())
        assert len(list(source.files())) == 4
