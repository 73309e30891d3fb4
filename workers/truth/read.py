"""Truth in any of the formats that people have it in: `read_truth`."""

from collections.abc import Callable
from pathlib import Path

from workers.truth.coco import read_coco
from workers.truth.gather import shown
from workers.truth.jsonl import parse_json, read_jsonl
from workers.truth.nus_wide import find_lists, read_nus_wide
from workers.truth.tables import LABELS_COLUMN, header_of, read_csv, read_one_hot
from workers.truth.text import folders_below, unreadable
from workers.truth.truth import WITH_SPLITS, Truth, TruthError, TruthFormat
from workers.truth.voc import is_voc, read_voc

FILES: dict[TruthFormat, Callable[[Path], Truth]] = {
    TruthFormat.CSV: read_csv,
    TruthFormat.ONE_HOT: read_one_hot,
    TruthFormat.JSONL: read_jsonl,
    TruthFormat.COCO: read_coco,
}
SUFFIXES = frozenset({".csv", ".json", ".jsonl", ".ndjson"})
#: How deep below the given folder a VOC may lie: an archive's own folder, VOCdevkit, VOC2012.
DEPTH = 3
#: What is looked at to tell a format: no row of JSON Lines is longer.
HEAD_BYTES = 1 << 20


def read_truth(path: Path, *, format: str | None = None, split: str | None = None) -> Truth:
    """What is true about images, from a file, or from a folder laid out as VOC or NUS-WIDE.

    Args:
        path: a CSV, JSON Lines or COCO file; the folder of a VOC or NUS-WIDE, or one above it; or
            a folder with a single file.
        format: one of `TruthFormat`; None: told by the content.
        split: for VOC and NUS-WIDE, e.g. `train`; None: all there is.

    Raises:
        TruthError: it cannot be read.
    """
    wanted = check_format(format, split)
    try:
        if path.is_dir():
            return _read_folder(path, wanted, split)
        if path.is_file():
            return _read_file(path, wanted, split)
    except OSError as error:
        raise unreadable(path, error) from error
    raise TruthError("truth_not_found", f"there is no file or folder {shown(str(path))}")


def check_format(format: str | None, split: str | None) -> TruthFormat | None:
    """The format that was asked for.

    Raises:
        TruthError: there is no such format, or it has no splits.
    """
    if format is None:
        return None
    if format not in set(TruthFormat):
        raise TruthError(
            "truth_format_unknown",
            f"there is no format {shown(format)}",
            f"The formats are {', '.join(TruthFormat)}.",
        )
    if split is not None and format not in WITH_SPLITS:
        raise _no_splits(TruthFormat(format), split)
    return TruthFormat(format)


def _read_file(path: Path, wanted: TruthFormat | None, split: str | None) -> Truth:
    kind = wanted or sniff(path)
    if kind not in FILES:
        raise TruthError(
            "truth_format_unknown", f"{path.name} is a file; the format {kind} is a folder"
        )
    if split is not None:
        raise _no_splits(kind, split)
    return FILES[kind](path)


def sniff(path: Path) -> TruthFormat:
    """The format of a file, told by its beginning.

    Raises:
        TruthError: it looks like none.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES).decode("utf-8-sig", "replace").lstrip()
    first = head.partition("\n")[0].strip()
    if not first:
        raise TruthError("truth_empty", f"{path.name} is empty")
    if first.startswith("{"):
        return TruthFormat.JSONL if _is_row(first) else TruthFormat.COCO
    if first.startswith(("[", "<", "PK\x03\x04")) or "\0" in first:
        raise TruthError(
            "truth_format_unknown",
            f"{path.name} begins like no truth: {shown(first)}",
            f"The formats are {', '.join(TruthFormat)}; docs/evaluation.md shows one of each.",
        )
    return TruthFormat.CSV if LABELS_COLUMN in header_of(path) else TruthFormat.ONE_HOT


def _is_row(line: str) -> bool:
    """Whether a line is an object of JSON Lines: one with a path."""
    try:
        row = parse_json(line, "line 1")
    except TruthError:
        return False
    return isinstance(row, dict) and "path" in row


def _read_folder(folder: Path, wanted: TruthFormat | None, split: str | None) -> Truth:
    if wanted in {None, TruthFormat.VOC} and (root := _voc_below(folder)):
        return read_voc(root, split=split)
    if wanted in {None, TruthFormat.NUS_WIDE} and (lists := find_lists(folder)):
        return read_nus_wide(lists, split=split)
    files = [
        path
        for place in folders_below(folder, DEPTH)
        for path in sorted(place.iterdir())
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if len(files) == 1 and wanted not in WITH_SPLITS:
        return _read_file(files[0], wanted, split)
    raise TruthError(
        "truth_format_unknown",
        f"the folder {shown(folder.name)} holds no truth{f' of format {wanted}' if wanted else ''}",
        "A VOC has Annotations or ImageSets/Main, a NUS-WIDE has Labels_*.txt; of any other format "
        f"name the file itself ({len(files)} CSV and JSON files lie there).",
    )


def _voc_below(folder: Path) -> Path | None:
    found = [place for place in folders_below(folder, DEPTH) if is_voc(place)]
    if len(found) > 1:
        names = ", ".join(str(place.relative_to(folder)) for place in found)
        raise TruthError(
            "truth_format_unknown",
            f"the folder {shown(folder.name)} holds several sets: {names}",
            "Name one of them.",
        )
    return found[0] if found else None


def _no_splits(kind: TruthFormat, split: str) -> TruthError:
    return TruthError(
        "truth_split_unknown",
        f"the format {kind} has no splits, so no {shown(split)}",
        "Leave split out, or give a file of the images wanted.",
    )
