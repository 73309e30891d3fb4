"""A student's files as they are now: each holds the thresholds that are in force."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from app.downloads import Part, StoredFile, sealed_files, stored_file
from workers.files import ONNX, WEIGHTS, DataFolder
from workers.model_card import CARD_JSON, CARD_MARKDOWN
from workers.thresholds import (
    AFTER,
    BEFORE,
    STUDENT_JSON,
    ThresholdsVersion,
    read_version,
)

#: All of them, in the order of the list of artifacts.
STUDENT_FILES = (WEIGHTS, STUDENT_JSON, ONNX, CARD_MARKDOWN, CARD_JSON)

Outputs = Mapping[tuple[str, int], str]


def student_files(student_id: str, outputs: Outputs, data: DataFolder) -> Iterator[StoredFile]:
    """What there is of a student; nothing before its phase is done."""
    if not data.student(student_id).exists():
        return
    version = read_version(data, student_id)
    found = (_student_file(file, version, student_id, outputs, data) for file in STUDENT_FILES)
    yield from filter(None, found)


def original_weights(student_id: str, data: DataFolder) -> StoredFile | None:
    """The student as its job made it, whatever thresholds are in force."""
    return stored_file(data.student(student_id), WEIGHTS)


def student_weights(
    student_id: str, data: DataFolder, version: ThresholdsVersion | None = None
) -> StoredFile | None:
    """The student with thresholds, else those in force; None where its files are gone."""
    if not data.student(student_id).exists():
        return None
    version = version or read_version(data, student_id)
    return _student_file(WEIGHTS, version, student_id, {}, data)


def exports_folder(outputs: Outputs, data: DataFolder) -> Path | None:
    """What the phase `export` left, where it was done."""
    name = outputs.get(("export", 0))
    return None if name is None else data.phase(name)


def _student_file(
    file: str, version: ThresholdsVersion, student_id: str, outputs: Outputs, data: DataFolder
) -> StoredFile | None:
    """One file with the thresholds of `version`; None where it is not there."""
    folders = filter(None, (data.student(student_id), exports_folder(outputs, data)))
    found = (stored_file(folder, file, is_fixed=False) for folder in folders)
    original = next(filter(None, found), None)
    if original is None or version.version == 1:
        return original
    if file in version.patched:
        return _patched(file, version, original)
    return stored_file(version.folder, file, is_fixed=False)


def _patched(file: str, version: ThresholdsVersion, original: StoredFile) -> StoredFile:
    """The original's weights between what the version says of them."""
    patch, (body,) = version.patched[file], original.parts
    entries = sealed_files(version.folder)
    before, after = (
        Part(version.folder, f"{file}{end}", range(entries[f"{file}{end}"]["size"]))
        for end in (BEFORE, AFTER)
    )
    middle = Part(body.folder, body.file, range(*patch["body"]))
    return StoredFile(
        file, patch["bytes"], patch["sha256"], (before, middle, after), is_fixed=False
    )
