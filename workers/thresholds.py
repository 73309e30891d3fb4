"""The versions of a student's thresholds: each a folder of its own, never overwritten.

Version 1 is what the job itself found and lies with its student. A later one holds, beside its
values, what they change of the student's files: models/headers.py says how little that is.
"""

import hashlib
import re
import reprlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from models.headers import layout_of
from workers import model_card
from workers.durable import write_durably
from workers.files import ONNX, WEIGHTS, DataFolder, read_json, write_json

#: What a version says of itself.
VERSION_FILE = "thresholds.json"
#: The student's short description, with its thresholds.
STUDENT_JSON = "student.json"
#: Files that are kept as what stands before and after the original's unchanged bytes.
PATCHED_FILES = (WEIGHTS, ONNX)
BEFORE, AFTER = ".before", ".after"

CHUNK_BYTES = 1 << 20
#: What `_name` makes: file systems leave names of their own beside it, such as `.nfs...`.
_NAME = re.compile(r"[0-9]{6,}")


class NoSuchVersion(Exception):
    """There is no such version of a student's thresholds."""

    def __init__(self, version: int, latest: int) -> None:
        super().__init__(f"there are versions 1 to {latest}, is {reprlib.repr(version)}")


class VersionTaken(Exception):
    """Somebody else has just made the version."""


class VersionDamaged(Exception):
    """A version no longer has its checksums."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Score thresholds by class, and how they were found."""

    #: From which score on a class applies; None: never.
    values: Mapping[str, float | None]
    #: `pseudo_f1`, `manual` or `tuned`.
    basis: str
    #: The evaluation that tuned them.
    evaluation_id: str | None = None
    #: The version that they are a copy of.
    copied_from: int | None = None
    #: What the evaluation measured, for the model card.
    metrics: Mapping[str, Any] | None = None

    def is_same(self, other: "Thresholds") -> bool:
        """Whether the other ones are these, found the same way."""
        return all(
            getattr(self, one.name) == getattr(other, one.name) for one in fields(Thresholds)
        )


@dataclass(frozen=True, kw_only=True)
class ThresholdsVersion(Thresholds):
    """Thresholds as they are kept."""

    version: int
    #: None for version 1, which is as old as its student.
    created_at: str | None
    #: Where its files lie; for version 1 the student's own folder.
    folder: Path
    #: name -> bytes, sha256 and body (positions in the original) of a patched file.
    patched: Mapping[str, Mapping[str, Any]]


def latest_version(data: DataFolder, student_id: str) -> int:
    """The number of the version in force."""
    return max(_numbers(data, student_id), default=1)


def read_version(
    data: DataFolder, student_id: str, version: int | None = None
) -> ThresholdsVersion:
    """One version; without a number the one in force.

    Raises:
        NoSuchVersion: there is none of this number.
        VersionDamaged: its files are not as they were written.
    """
    latest = latest_version(data, student_id)
    number = latest if version is None else version
    if not 1 <= number <= latest:
        raise NoSuchVersion(number, latest)
    if number == 1:
        return _first(data, student_id)
    folder = _folder(data, student_id) / _name(number)
    message = (
        f"version {number} of the thresholds no longer has its checksums; put another in force"
    )
    try:
        if data.is_complete(folder):
            return ThresholdsVersion(folder=folder, **read_json(folder / VERSION_FILE))
    except (OSError, ValueError, TypeError) as error:
        raise VersionDamaged(message) from error
    raise VersionDamaged(message)


def versions(data: DataFolder, student_id: str) -> Iterator[int]:
    """The numbers that there are, newest first."""
    yield from sorted(_numbers(data, student_id), reverse=True)
    yield 1


def add_version(
    data: DataFolder,
    student_id: str,
    thresholds: Thresholds,
    *,
    after: int,
    now: str,
    exports: Path | None,
) -> ThresholdsVersion:
    """Make the version that follows `after` the one in force.

    Args:
        data: the data folder.
        student_id: whose.
        thresholds: of every class of the student.
        after: the version that was in force when the caller looked.
        now: when, RFC 3339.
        exports: the folder of the student's phase `export`; None: there is none.

    Raises:
        VersionTaken: there is such a version already.
        DiskFull: nothing is changed.
    """
    version = after + 1
    own = data.student(student_id)
    with data.staging(f"thresholds-{secrets.token_hex(8)}") as staging:
        _write_student_json(staging, own, thresholds, version)
        _write_card(staging, exports, thresholds, version)
        folders = [own] if exports is None else [own, exports]
        originals = [folder / name for folder in folders for name in PATCHED_FILES]
        patched = {
            path.name: _write_patch(staging, path, thresholds, version)
            for path in originals
            if path.exists()
        }
        kept = {**asdict(thresholds), "version": version, "created_at": now, "patched": patched}
        write_json(staging / VERSION_FILE, kept)
        if not data.publish(staging, _folder(data, student_id) / _name(version)):
            raise VersionTaken
    return read_version(data, student_id, version)


def _first(data: DataFolder, student_id: str) -> ThresholdsVersion:
    folder = data.student(student_id)
    listed = read_json(folder / STUDENT_JSON)
    return ThresholdsVersion(
        values=dict(zip(listed["classes"], listed["thresholds"], strict=True)),
        basis=listed["threshold_basis"],
        version=1,
        created_at=None,
        folder=folder,
        patched={},
    )


def _write_student_json(staging: Path, own: Path, thresholds: Thresholds, version: int) -> None:
    listed = read_json(own / STUDENT_JSON)
    write_json(staging / STUDENT_JSON, _changed(listed, listed["classes"], thresholds, version))


def _changed(
    listed: Mapping[str, Any], names: Sequence[str], thresholds: Thresholds, version: int
) -> dict[str, Any]:
    """A description of a student with other thresholds, in the order of its classes."""
    return {
        **listed,
        "thresholds": [thresholds.values[name] for name in names],
        "threshold_basis": thresholds.basis,
        "thresholds_version": version,
    }


def _write_card(staging: Path, exports: Path | None, thresholds: Thresholds, version: int) -> None:
    if exports is None:
        return
    card = model_card.with_thresholds(
        read_json(exports / model_card.CARD_JSON),
        thresholds.values,
        basis=thresholds.basis,
        version=version,
        metrics=thresholds.metrics,
    )
    write_json(staging / model_card.CARD_JSON, card)
    write_durably(staging / model_card.CARD_MARKDOWN, model_card.markdown(card).encode())


def _write_patch(
    staging: Path, original: Path, thresholds: Thresholds, version: int
) -> dict[str, Any]:
    """Keep what is other in a student's file; its size and digest as a whole."""
    layout = layout_of(original)
    names = [class_["name"] for class_ in layout.header["classes"]]
    before, after = layout.with_header(_changed(layout.header, names, thresholds, version))
    (staging / f"{original.name}{BEFORE}").write_bytes(before)
    (staging / f"{original.name}{AFTER}").write_bytes(after)
    digest = hashlib.sha256(before)
    for chunk in chunks_of(original, layout.body):
        digest.update(chunk)
    digest.update(after)
    return {
        "bytes": len(before) + len(layout.body) + len(after),
        "sha256": digest.hexdigest(),
        "body": [layout.body.start, layout.body.stop],
    }


def chunks_of(path: Path, wanted: range) -> Iterator[bytes]:
    """The wanted bytes of a file, some at a time."""
    with path.open("rb") as file:
        file.seek(wanted.start)
        left = len(wanted)
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk


def _folder(data: DataFolder, student_id: str) -> Path:
    return data.student(student_id).parent / "thresholds"


def _name(version: int) -> str:
    return f"{version:06d}"


def _numbers(data: DataFolder, student_id: str) -> list[int]:
    """The versions after the first."""
    try:
        names = [path.name for path in _folder(data, student_id).iterdir()]
    except FileNotFoundError:
        return []
    return [int(name) for name in names if _NAME.fullmatch(name)]
