"""The log of a job: in Redis while it runs, on disk when it is over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import structlog

from workers.events import Line
from workers.files import DataFolder, write_json
from workers.outcomes import REQUEST
from workers.store import Store

logger = structlog.get_logger()

LOG = "log.json"


def keep_log(folder: DataFolder, job_id: str, lines: Sequence[Line]) -> bool:
    """Whether the disk has the log of a job that is over; written where it had not.

    Nothing is missing of a job whose request is gone: it was deleted meanwhile.
    """
    own = folder.job(job_id)
    try:
        if lines and (own / REQUEST).exists():
            write_json(own / LOG, [asdict(line) for line in lines])
    except OSError as reason:
        logger.warning("log.unwritten", record=job_id, error=str(reason))
        return False
    return True


def read_log(store: Store, folder: DataFolder, job_id: str, *, after: int) -> list[Line]:
    """The lines after one of a number, wherever they are; none where the disk has lost them."""
    lines = store.lines(job_id, after=after)
    # Of a job that is over Redis has no later lines than those that it has not given away.
    return lines or [line for line in _kept(folder, job_id) if line.number > after]


def _kept(folder: DataFolder, job_id: str) -> list[Line]:
    try:
        return [Line(**line) for line in json.loads((folder.job(job_id) / LOG).read_bytes())]
    except FileNotFoundError:
        return []
