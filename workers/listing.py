"""The list of a dataset's images as it is written: one row per image, one line per skipped file."""

import hashlib
import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from workers.files import MANIFEST, MANIFEST_BLOCK, SKIPPED
from workers.paths import IMAGE_SUFFIXES, FileRefused, FoundFile
from workers.sandbox import Inspected

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("path_raw", pa.binary()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("content", pa.int32()),
        ("notes", pa.list_(pa.string())),
    ]
)

#: A file skipped for one of these reasons is a bad image only if it is named like an image: a
#: folder may hold notes and lists beside its pictures.
NO_IMAGE_CODES = {
    "unsupported_format",
    "empty_file",
    "link_outside",
    "link_repeated",
    "not_a_file",
    "services_own",
}
RAW_SUFFIXES = tuple(suffix.encode() for suffix in IMAGE_SUFFIXES)


class Listing:
    """Writes `manifest.parquet` and `skipped.ndjson` row by row, counting as it goes.

    Per image it remembers 16 bytes of the digest and nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._open_files = ExitStack()
        enter = self._open_files.enter_context
        self._skipped = enter((folder / SKIPPED).open("w", encoding="ascii"))
        manifest = enter((folder / MANIFEST).open("wb"))
        self._manifest = enter(
            ParquetWriter(manifest, SCHEMA, compression="zstd", use_dictionary=["format"])
        )
        self._rows: list[dict[str, Any]] = []
        self._contents: dict[bytes, int] = {}
        self._images_digest = hashlib.sha256()
        self._accepted = 0
        self._bytes = 0
        self._formats: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        #: Files that should be images and cannot be used.
        self.bad = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write_rows()
        self._open_files.__exit__(kind, error, trace)

    def add(self, file: FoundFile, image: Inspected) -> int | None:
        """Add an image; its index among the distinct contents if its content is new."""
        digest = bytes.fromhex(image.sha256)
        is_new = digest[:16] not in self._contents
        content = self._contents.setdefault(digest[:16], len(self._contents))
        self._rows.append(_row(file, image, content))
        if len(self._rows) == MANIFEST_BLOCK:
            self._write_rows()
        self._accepted += 1
        self._bytes += image.bytes
        self._formats[image.format] += 1
        if is_new:
            self._images_digest.update(digest)
        return content if is_new else None

    def skip(self, file: FoundFile, refusal: FileRefused) -> None:
        """Add a file that is not used, with the reason."""
        row = {"path": file.name, "code": refusal.code, "message": str(refusal)}
        self._skipped.write(json.dumps(row) + "\n")
        self._reasons[refusal.code] += 1
        self.bad += is_bad_image(file, refusal)

    def facts(self) -> dict[str, Any]:
        """What the record says of the dataset."""
        skipped = self._reasons.total()
        return {
            "counts": {
                "found": self._accepted + skipped,
                "accepted": self._accepted,
                "skipped": skipped,
                "duplicates": self._accepted - len(self._contents),
                "distinct": len(self._contents),
            },
            "reasons": dict(sorted(self._reasons.items())),
            "formats": dict(sorted(self._formats.items())),
            "bytes": self._bytes,
            "images_digest": self._images_digest.hexdigest(),
        }

    def _write_rows(self) -> None:
        if self._rows:
            self._manifest.write_table(pa.Table.from_pylist(self._rows, SCHEMA))
            self._rows.clear()


def image_id_of(file: FoundFile, image: Inspected) -> str:
    """The same for the same bytes under the same name."""
    identity = hashlib.sha256(file.raw + b"\0" + image.sha256.encode("ascii")).hexdigest()
    return f"img_{identity[:24]}"


def is_bad_image(file: FoundFile, refusal: FileRefused) -> bool:
    """Whether a skipped file should have been an image."""
    return file.raw.lower().endswith(RAW_SUFFIXES) or refusal.code not in NO_IMAGE_CODES


def _row(file: FoundFile, image: Inspected, content: int) -> dict[str, Any]:
    return {
        "image_id": image_id_of(file, image),
        "path": file.name,
        "path_raw": file.raw,
        "sha256": image.sha256,
        "bytes": image.bytes,
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "content": content,
        "notes": image.notes,
    }
