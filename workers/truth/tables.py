"""Truth as CSV: `path,labels` with labels joined by `;`, or a column of 0 and 1 per class."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from workers.label_rows import FORMULA_STARTS
from workers.truth.gather import Gathering, shown
from workers.truth.text import read_lines
from workers.truth.truth import Truth, TruthError, TruthFormat

PATH_COLUMNS = ("path", "filename", "file_name", "image")
LABELS_COLUMN, IGNORED_COLUMN = "labels", "ignored"
#: Columns of our own list of labels that say nothing about the truth.
OWN_COLUMNS = frozenset({"image_id", "thresholds_version"})

_YES = frozenset({"1", "1.0", "true"})
_NO = frozenset({"0", "0.0", "false"})
_NEITHER = "?"


def read_csv(path: Path) -> Truth:
    """The truth of a table with the columns `path`, `labels` and perhaps `ignored`.

    Raises:
        TruthError: it is no such table.
    """
    rows = _Rows(path)
    where, labels = rows.path_column, rows.column(LABELS_COLUMN)
    ignored = rows.header.index(IGNORED_COLUMN) if IGNORED_COLUMN in rows.header else None
    found = Gathering(TruthFormat.CSV)
    others = [
        column
        for column in rows.header
        if column not in {*PATH_COLUMNS, *OWN_COLUMNS, LABELS_COLUMN, IGNORED_COLUMN}
    ]
    if others:
        found.warn(
            "truth_columns_unused",
            f"the column {shown(others[0])} is not used; path, labels and ignored are",
            count=len(others),
        )
    for place, row in rows:
        found.add(
            _cell(row[where]),
            split_names(_cell(row[labels])),
            ignored=split_names(_cell(row[ignored])) if ignored is not None else (),
            place=place,
        )
    return found.truth()


def read_one_hot(path: Path) -> Truth:
    """The truth of a table with a path and a column per class: 1 there, 0 not, ? neither.

    Raises:
        TruthError: it is no such table.
    """
    rows = _Rows(path)
    where = rows.path_column
    columns = [i for i, name in enumerate(rows.header) if i != where and name not in OWN_COLUMNS]
    if not columns:
        raise TruthError("truth_malformed", f"{path.name} has no column of a class")
    names = [_cell(rows.raw_header[i]) for i in columns]
    found = Gathering(TruthFormat.ONE_HOT, names)
    for place, row in rows:
        cells = [row[i].strip().lower() for i in columns]
        _check_cells(cells, [row[i] for i in columns], names, place)
        found.add(
            _cell(row[where]),
            [name for name, cell in zip(names, cells, strict=True) if cell in _YES],
            ignored=[name for name, cell in zip(names, cells, strict=True) if cell == _NEITHER],
            place=place,
        )
    return found.truth()


def header_of(path: Path) -> list[str]:
    """Names of the columns, in small letters."""
    return _Rows(path).header


def split_names(text: str) -> list[str]:
    r"""The names that `;` joins; `\;` is a `;` of a name and `\\` a `\`."""
    names, name, is_escaped = [], "", False
    for character in text:
        if is_escaped:
            name += character if character in ";\\" else f"\\{character}"
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        elif character == ";":
            names.append(name)
            name = ""
        else:
            name += character
    names.append(name + "\\" * is_escaped)
    return [name for name in names if name.strip()]


class _Rows:
    """Rows of a CSV file, each as long as the header, with their places."""

    def __init__(self, path: Path) -> None:
        self._file = path.name
        self._reader = csv.reader((line for _, line in read_lines(path)), strict=True)
        self.raw_header = next(self._read(), [])
        self.header = [name.strip().lower() for name in self.raw_header]
        for name, count in Counter(self.header).items():
            if count > 1:
                raise TruthError(
                    "truth_malformed", f"{path.name}, line 1 has the column {shown(name)} twice"
                )

    @property
    def path_column(self) -> int:
        """The position of the column with the paths."""
        for name in PATH_COLUMNS:
            if name in self.header:
                return self.header.index(name)
        return self.column(PATH_COLUMNS[0])

    def column(self, name: str) -> int:
        """The position of a column.

        Raises:
            TruthError: there is none.
        """
        if name not in self.header:
            raise TruthError(
                "truth_malformed",
                f"{self._file}, line 1 must name the columns and has no {name}: "
                f"{shown(','.join(self.raw_header))}",
                "Write path,labels as the first line, with commas between columns, or path and "
                "one column per class.",
            )
        return self.header.index(name)

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        for row in self._read():
            if not row:
                continue  # an empty line
            place = f"{self._file}, line {self._reader.line_num}"
            if len(row) != len(self.header):
                raise TruthError(
                    "truth_malformed",
                    f"{place} has {len(row)} columns, the first line has {len(self.header)}",
                    "Put text that holds a comma into double quotes.",
                )
            yield place, row

    def _read(self) -> Iterator[list[str]]:
        try:
            yield from self._reader
        except csv.Error as error:
            raise TruthError(
                "truth_malformed", f"{self._file}, line {self._reader.line_num}: {error}"
            ) from error


def _cell(text: str) -> str:
    """A cell without the apostrophe that keeps spreadsheets from running it."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA_STARTS) else text


def _check_cells(
    cells: Sequence[str], raw: Sequence[str], names: Sequence[str], place: str
) -> None:
    for cell, text, name in zip(cells, raw, names, strict=True):
        if cell not in _YES and cell not in _NO and cell != _NEITHER:
            raise TruthError(
                "truth_malformed",
                f"{place}, column {shown(name)}: must be 1, 0 or ?, is {shown(text)}",
                "1: the class is there, 0: it is not, ?: not judged.",
            )
