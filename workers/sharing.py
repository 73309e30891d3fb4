"""Who else has a folder with results: what Redis knows, and what the disk alone does."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import product
from pathlib import Path

import structlog

from workers.files import DataFolder, read_json
from workers.jobs import Kind
from workers.outcomes import REQUEST, end_file
from workers.store import MAX_PAGE, Store

logger = structlog.get_logger()

#: Records that have folders with results, which others may have too.
KINDS = (Kind.JOB, Kind.PREDICTION, Kind.EVALUATION, Kind.EXPORT)


def shared(outputs: Collection[str], store: Store) -> dict[str, set[str]]:
    """By project, those that a record has which is still there."""
    wanted, found = set(outputs), dict[str, set[str]]()
    for kind, project in product(KINDS, store.projects()):
        ids, own = store.ids(kind, project=project), found.setdefault(project, set())
        for start in range(0, len(ids), MAX_PAGE):
            own |= wanted & store.output_names(ids[start : start + MAX_PAGE])
    return found


def on_disk_alone(store: Store, data: DataFolder) -> list[Path]:
    """Folders of records that Redis does not know: it was emptied, and `ccd recover` may come."""
    kinds = [data.records(kind) for kind in KINDS]
    own = [path for kind in kinds if kind.is_dir() for path in kind.iterdir() if path.is_dir()]
    return [path for part in _parts(own) for path in _unknown(part, store)]


def outputs_of(own: Path) -> set[str] | None:
    """The results that the record of a folder ended with; None where that cannot be told."""
    try:
        return {name for _, _, name in read_json(end_file(own))["outputs"]}
    except FileNotFoundError:
        if not (own / REQUEST).exists():
            return set()  # nothing brings such a record back
        reason = "it has not ended"
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = repr(error)
    logger.warning("deletion.put_off", record=own.name, reason=f"Redis does not know it: {reason}")
    return None


def _parts(paths: list[Path]) -> Iterator[list[Path]]:
    for start in range(0, len(paths), MAX_PAGE):
        yield paths[start : start + MAX_PAGE]


def _unknown(paths: list[Path], store: Store) -> list[Path]:
    known = store.known(path.name for path in paths)
    return [path for path in paths if path.name not in known]
