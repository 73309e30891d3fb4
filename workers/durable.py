"""Files and folders that survive a power cut, and the seal that shows that they did."""

import hashlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from workers.fault_points import fault

#: Written last into a folder: the name, size and SHA-256 of each of its files.
SEAL = "MANIFEST.json"
#: Sub-folder that the seal leaves out: uploaded images, whose digests stand in the dataset's own
#: list and are checked whenever one is read.
IMAGES = "images"


def seal(staging: Path, name: str, about: str = "") -> None:
    """Write the list of files with their digests last, and make everything durable.

    `about` is what the fault point in here is told.
    """
    files = [_sealed(path, staging) for path in _files_below(staging)]
    for folder in sorted({staging, *(path.parent for path in _files_below(staging))}):
        sync_folder(folder)
    fault("publish.before_manifest", about)
    text = json.dumps({"name": name, "files": files}, sort_keys=True)
    write_durably(staging / SEAL, text.encode("ascii"))
    sync_folder(staging)


def _files_below(folder: Path) -> list[Path]:
    """Files that the seal lists, sorted."""
    listed = [path for path in folder.iterdir() if path.name not in {IMAGES, SEAL}]
    below = [path for top in listed if top.is_dir() for path in top.rglob("*")]
    return sorted(path for path in (*listed, *below) if path.is_file())


def _sealed(path: Path, folder: Path) -> dict[str, Any]:
    """One file's entry in the seal; the file is durable afterwards."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        os.fsync(file.fileno())
    return {"name": path.relative_to(folder).as_posix(), "size": size, "sha256": digest}


def is_sealed(folder: Path) -> bool:
    """Whether the files of `folder` have the sizes and digests that its seal lists."""
    found = json.loads((folder / SEAL).read_bytes())
    return found["name"] == folder.name and all(
        _has_digest(folder / entry["name"], entry) for entry in found["files"]
    )


def _has_digest(path: Path, entry: dict[str, Any]) -> bool:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size != entry["size"]:
            return False
        return bool(hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"])


def write_durably(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """A new file has `mode`, less what the process's mask takes away."""
    with open(path, "wb", opener=partial(os.open, mode=mode)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Make what was written to a file durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
