"""What a job would take, asked for with `dry_run`: refused as the job itself would be."""

from itertools import islice
from typing import Any

from app.dataset_schemas import ServerSource
from app.deps import Services
from app.job_schemas import JobCreate
from app.submit import check_dataset, check_source, checked_config
from workers.estimate import Wanted, estimate, shown
from workers.sources import source_of

#: Files of a folder that is not registered are counted up to here.
MAX_COUNTED = 200_000


def estimate_reply(services: Services, body: JobCreate) -> dict[str, Any]:
    """What the job would take.

    Raises:
        As `submit_job`.
    """
    config = checked_config(services, body)
    classes = [spec.model_dump() for spec in body.classes]
    images, project = _images(services, body), services.caller.project
    wanted = Wanted(config, classes, images, body.dataset_id, project)
    content = shown(estimate(wanted, services.store, services.data))
    if body.source is not None:
        content["warnings"].append(
            {
                "code": "images_not_registered",
                "message": "the files were counted, not opened: some may be no images, and the "
                f"time to register them is not in the estimate; at most {MAX_COUNTED:,} count",
            }
        )
    return content


def _images(services: Services, body: JobCreate) -> int | None:
    if body.source is not None:
        return _count(services, body.source)
    assert body.dataset_id is not None, "the schema sees to it"
    counts = check_dataset(services, body.dataset_id).facts.get("counts") or {}
    found = counts.get("distinct", counts.get("accepted"))
    return None if found is None else int(found)


def _count(services: Services, source: ServerSource) -> int:
    """Files of a source that is not registered."""
    check_source(source, services.settings.allowed_roots)
    request = source.model_dump(exclude_none=True)
    files = source_of(request, services.data.root, services.data.root, services.settings).files()
    return sum(file.refusal is None for file in islice(files, MAX_COUNTED))
