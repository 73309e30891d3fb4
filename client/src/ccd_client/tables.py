"""Rows as a list that notebooks show, and label rows as a table of pandas or Arrow."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from ccd_client.errors import PackageMissing
from ccd_client.html import shown_as_rows
from ccd_client.models import LabelRow, Reply

Row = TypeVar("Row", bound=Reply)


class Rows(list[Row]):
    """A list of answers."""

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return shown_as_rows([row.model_dump(mode="json", by_alias=True) for row in self])


def pandas_frame(rows: Sequence[LabelRow]) -> Any:
    """A pandas DataFrame of the columns of `label_columns`."""
    return needed("pandas", "to_pandas()").DataFrame(label_columns(rows))


def arrow_table(rows: Sequence[LabelRow]) -> Any:
    """A pyarrow Table of the columns of `label_columns`."""
    return needed("pyarrow", "to_arrow()").table(label_columns(rows))


def label_columns(rows: Sequence[LabelRow]) -> dict[str, list[Any]]:
    """`image_id`, `path`, `labels`, `thresholds_version`, and `score:NAME` for each class."""
    columns: dict[str, list[Any]] = {
        "image_id": [row.image_id for row in rows],
        "path": [row.path for row in rows],
        "labels": [row.labels for row in rows],
        "thresholds_version": [row.thresholds_version for row in rows],
    }
    for name in _classes(rows):
        columns[f"score:{name}"] = [row.scores.get(name) for row in rows]
    if any(row.views is not None for row in rows):
        columns["views"] = [_views(row) for row in rows]
    return columns


def needed(package: str, call: str) -> Any:
    """A package that is there only where the user installed it.

    Raises:
        PackageMissing: with what to do.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise PackageMissing(
            f"{call} needs {package}, which cannot be imported here: pip install {package}"
        ) from error


def _classes(rows: Iterable[LabelRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.scores))


def _views(row: LabelRow) -> list[dict[str, Any]]:
    return [view.model_dump(mode="json", by_alias=True) for view in row.views or ()]
