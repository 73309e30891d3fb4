"""Images sorted into a folder for each class, in a zip: one label an image, and what that loses.

The folders lie below `train` and `val`, as Ultralytics wants them; a class may be called so too.
"""

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from workers.exports.formats import Losses, Policy
from workers.exports.source import Export, OnImages

#: Beside the folders: the class of each.
CLASSES_FILE = "classes.json"
TRAIN, VAL = SPLITS = ("train", "val")
#: One image in so many is for validation, told by its bytes: copies of it are never in both.
VAL_SHARE = 5
#: The time that every entry has: the first that a zip can tell.
TIME = (1980, 1, 1, 0, 0, 0)
FILE_MODE, FOLDER_MODE = 0o100644 << 16, 0o040755 << 16
MAX_STEM_CHARACTERS = 80
#: Names that Windows keeps for devices.
DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)
#: By format of the content: suffixes of files may lie, and readers go by them.
IMAGE_SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "GIF": ".gif",
    "TIFF": ".tif",
}

#: The bytes of the image with this content.
ReadImage = Callable[[int], bytes]


def write_folders(
    export: Export, target: Path, on_images: OnImages, read_image: ReadImage
) -> Losses:
    """The zip. Its images have the bytes that were registered."""
    assert export.policy is not None, "the request is checked"
    folders = folder_names(export.names)
    losses, copies, gifs = Losses(), 0, 0
    filled: set[tuple[str, str]] = set()
    with ZipFile(target, "w", ZIP_STORED) as archive:
        listed = {folder: name for name, folder in folders.items()}
        _add(archive, CLASSES_FILE, json.dumps(listed, ensure_ascii=False, indent=1).encode())
        for number, (image, row) in enumerate(export.pairs(on_images)):
            chosen = chosen_labels(row, export.policy)
            losses.images += not chosen
            losses.labels += len(row["labels"]) - len(chosen)
            copies += max(0, len(chosen) - 1)
            gifs += bool(chosen) and image["format"] == "GIF"
            if chosen:
                on_images(number)  # an image takes a while
                content, split = read_image(image["content"]), split_of(image["sha256"])
                for name in chosen:
                    filled.add((split, name))
                    member = f"{split}/{folders[name]}/{member_name(number, image)}"
                    _add(archive, member, content)
        there = {name for _, name in filled}
        # Readers number the classes of a split by its folders: both have the same.
        for split in SPLITS:
            for name in export.names:
                if name in there and (split, name) not in filled:
                    _add(archive, f"{split}/{folders[name]}/", b"", mode=FOLDER_MODE)
    empty = [name for name in export.names if name not in there]
    losses.notes = list(_notes(copies, gifs, empty))
    return losses


def split_of(sha256: str) -> str:
    """Whether an image with these bytes is for training or for validation."""
    return TRAIN if int(sha256[:8], 16) % VAL_SHARE else VAL


def chosen_labels(row: Mapping[str, Any], policy: Policy) -> list[str]:
    """The classes to whose folders an image goes."""
    labels: list[str] = row["labels"]
    if policy is Policy.DUPLICATE or len(labels) < 2:
        return labels
    # Of equal scores that of the class that the user gave first.
    return [max(labels, key=row["scores"].__getitem__)] if policy is Policy.TOP1 else []


def folder_names(names: Sequence[str]) -> dict[str, str]:
    """A folder for each class that any file system can have; no two are the same there."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain, count = _plain(name) or "class", 1
        folder = f"{plain}_" if plain.casefold().partition(".")[0] in DEVICES else plain
        while folder.casefold() in taken:
            count += 1
            folder = f"{plain} ({count})"
        taken.add(folder.casefold())
        folders[name] = folder
    return folders


def member_name(number: int, image: Mapping[str, Any]) -> str:
    """The file name of an image: its number in the list, which no other has, and its own."""
    stem = _plain(PurePosixPath(image["path"]).stem)
    return f"{number:08d}{'-' if stem else ''}{stem}{IMAGE_SUFFIXES[image['format']]}"


def _plain(text: str) -> str:
    """`text` with nothing in it that a file system or an archive could take for something else."""
    kept = (c if c in "-_() " or c.isalnum() else "_" for c in unicodedata.normalize("NFC", text))
    return "".join(kept)[:MAX_STEM_CHARACTERS].strip(" ")


def _add(archive: ZipFile, name: str, content: bytes, *, mode: int = FILE_MODE) -> None:
    info = ZipInfo(name, TIME)
    info.external_attr = mode
    info.create_system = 3  # Unix, wherever it was made
    archive.writestr(info, content)


def _notes(copies: int, gifs: int, empty: Sequence[str]) -> Iterator[str]:
    if copies:
        yield f"Images with several labels are there several times: {copies:,} copies."
    if gifs:
        yield f"Most readers of folders pass over GIF files; here are {gifs:,}."
    if empty:
        yield f"Classes without an image have no folder: {', '.join(empty)}."
