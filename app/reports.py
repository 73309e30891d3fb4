"""The health report of a job: where its files lie, and what a browser may do with the page."""

from collections.abc import Iterator, Mapping

from app.downloads import StoredFile, stored_file
from app.errors import Problem
from workers.files import HEALTH, PAGE, POLICY, DataFolder
from workers.jobs import Record
from workers.store import Store

REPORT_FILES = (PAGE, HEALTH)

#: Added to the page's own policy: shown by nobody else, and without the rights of this address.
ALONE = "frame-ancestors 'none'; sandbox allow-scripts"


def report_files(
    outputs: Mapping[tuple[str, int], str], data: DataFolder
) -> Iterator[StoredFile | None]:
    """The files of a report, where there is one."""
    folder = outputs.get(("report", 0))
    if folder:  # it is empty where the report could not be made
        yield from (stored_file(data.phase(folder), file) for file in REPORT_FILES)


def report_file(record: Record, file: str, *, store: Store, data: DataFolder) -> StoredFile:
    """One file of the report of a job.

    Raises:
        Problem: `not_ready`, or `artifact_not_found` where the report could not be made.
    """
    folder = store.outputs(record.id).get(("report", 0))
    if folder is None:
        raise Problem(
            "not_ready",
            f"the report is made by phase report, which is not done; {record.id} is "
            f"{record.status}, in phase {record.phase or 'none'}",
        )
    stored = stored_file(data.phase(folder), file, is_fixed=False) if folder else None
    if stored is None:
        raise Problem(
            "artifact_not_found",
            f"the report of {record.id} could not be made; its warnings say why",
        )
    return stored


def page_headers(page: StoredFile) -> dict[str, str]:
    """Shown in the browser; the page runs what is its own, loads nothing and asks for nothing."""
    policy = (page.parts[0].folder / POLICY).read_text("ascii")
    return {
        "Content-Disposition": page.disposition("inline"),
        "Content-Security-Policy": f"{policy}; {ALONE}",
    }
