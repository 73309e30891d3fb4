"""Class activation maps on demand: which map is meant, and the work to be asked for."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from app.deps import Services
from app.downloads import StoredFile, stored_file
from app.errors import RETRY_AFTER_SECONDS, Problem, invalid, shown
from app.images import image_of
from app.labels import columns_of
from app.middleware import current_request_id
from app.student_files import original_weights
from app.text import near_names, same_key
from workers.cams import Cam, CamCache, CamFormat, fitted
from workers.files import MANIFEST
from workers.jobs import Kind, Lane, Phase, Record, Status
from workers.stages import student_id_of
from workers.store import IllegalMove, RecordNotFound

RENDER = Phase("cam", Lane.IO, units=1, sequential=False, weight=1)
#: Somebody looks at the screen. Maps have a share of their own, under a name that nobody can
#: have; a map is one image, so that its turn comes before the next registration or prediction.
SUBMITTER = "(maps)"
#: A failure is told for this long, and then tried again; a success is in the cache.
KEEP_SECONDS = 60.0
#: Maps of a project that may wait at a time. A worker makes some each second.
MAX_WAITING = 100
#: Longest side of a result in pixels, unless asked for, and the most that may be asked for.
DEFAULT_SIDE = {CamFormat.PNG: 1024, CamFormat.NPY: 4096}
MAX_SIDE = 4096
#: Failures that the user can do something about; any other is `cam_failed`.
TOLD = frozenset({"input_changed", "dataset_deleted", "disk_full"})


@dataclass(frozen=True)
class WantedCam:
    """One map that was asked for, of an image and a class that are there."""

    services: Services
    job: Record
    #: Its row of the job's list.
    image: dict[str, Any]
    #: The class, spelt as the job has it.
    class_name: str
    cam: Cam

    @property
    def image_path(self) -> str:
        """Address of the image."""
        return f"/v1/jobs/{self.job.id}/images/{self.image['image_id']}"

    def path(self, max_side: int | None) -> str:
        """Address of the map."""
        query = {"class": self.class_name, "format": str(self.cam.format)}
        if max_side is not None:
            query["max_side"] = str(max_side)
        return f"{self.image_path}/cam?{urlencode(query, quote_via=quote)}"

    def stored(self) -> StoredFile | None:
        """The map, if it is in the cache."""
        cache = CamCache(self.services.data)
        if not cache.has(self.cam.name):
            return None
        name = f"{self.image['image_id']}-{self.class_name}.{self.cam.format}"
        folder = cache.folder(self.cam.name)
        return stored_file(folder, self.cam.file, name=name, is_fixed=False)

    def ask(self) -> Record:
        """The record of the work that makes it: there already, or new.

        Raises:
            Problem: `too_many_cams`.
        """
        store, project = self.services.store, self.job.project
        id = self.cam.record_id(project)
        with suppress(RecordNotFound):
            record = store.get(id)
            if record.status is not Status.SUCCEEDED or self.stored():
                return record
            with suppress(IllegalMove):  # made, and swept away since
                store.delete(record.id)
        if store.count(Kind.CAM, project=project) >= MAX_WAITING:
            raise Problem(
                "too_many_cams",
                f"{MAX_WAITING} maps wait for a worker of lane io already",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        record = store.create(
            Kind.CAM,
            id,
            request={
                "cam": vars(self.cam),
                "student_id": student_id_of(self.job.id),
                "dataset_id": self.job.request["dataset_id"],
                "content": self.image["content"],
            },
            phases=[RENDER],
            submitter=SUBMITTER,
            project=project,
            keep_seconds=KEEP_SECONDS,
            request_id=current_request_id(),
        )
        self.services.ring(RENDER.lane)
        return record


def wanted_cam(
    services: Services,
    job_id: str,
    image_id: str,
    class_name: str,
    *,
    format: CamFormat,
    max_side: int | None,
) -> WantedCam:
    """The map that a call means.

    Raises:
        Problem: of the job, its image or its class; before the job has a student; after its
            dataset was deleted.
    """
    job = services.record(job_id, "job")
    image = image_of(job, image_id, services.data)
    weights = original_weights(student_id_of(job.id), services.data)
    if job.status is not Status.SUCCEEDED or weights is None:
        raise Problem(
            "not_ready",
            "maps are made with the student of phase score, which is not done; "
            f"{job.id} is {job.status}, in phase {job.phase or 'none'}",
        )
    columns = columns_of(job)
    position = _position(class_name, columns.names)
    dataset_id = job.request["dataset_id"]
    if not (services.data.dataset(dataset_id) / MANIFEST).exists():
        raise Problem("dataset_deleted", f"{job.id} ran on {dataset_id}, deleted since")
    width, height = fitted(image["width"], image["height"], max_side or DEFAULT_SIDE[format])
    cam = Cam(
        student_sha256=weights.sha256,
        image_sha256=image["sha256"],
        channel=columns.columns[position],
        width=width,
        height=height,
        format=format,
    )
    return WantedCam(services, job, image, columns.names[position], cam)


def failure_of(record: Record) -> Problem:
    """What the client is told of a map that could not be made."""
    assert record.error is not None, "a failed record says why"
    code = record.error.code if record.error.code in TOLD else "cam_failed"
    message, hint = record.error.message, record.error.hint
    detail = f"{message.rstrip('.')}. {hint[:1].upper()}{hint[1:]}" if hint else message
    return Problem(code, detail)


def _position(wanted: str, names: Sequence[str]) -> int:
    """Index of a class among the user's, whatever its case."""
    keys = [same_key(name) for name in names]
    if (key := same_key(wanted)) in keys:
        return keys.index(key)
    reason = f"is no class of this job, is {shown(wanted)}; {near_names(wanted, names)}"
    raise invalid("/query/class", reason)
