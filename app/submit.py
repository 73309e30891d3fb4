"""Accepted work: its request on disk first, then its record, then the doorbell."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from redis.exceptions import ResponseError

from app.dataset_schemas import DatasetCreate, ListSource, ServerSource
from app.deps import Services, not_found
from app.errors import Problem, invalid, shown
from app.job_schemas import JobCreate
from app.middleware import current_request_id
from app.student_schemas import PredictionCreate
from app.uploads import Upload, UploadedFile
from models.config import DistillConfig, resolve
from workers.archives import check_archive
from workers.durable import sync_folder, write_durably
from workers.fault_points import fault
from workers.files import NAMES, disk_guard
from workers.jobs import NOBODY, Kind, Lane, Phase, Priority, Record, Status
from workers.outcomes import REQUEST, read_kept, write_request
from workers.paths import allowed_file, display_path, is_services_own
from workers.sources import FoldersOverlap, folder_paths, separate_folders
from workers.stages import passes_of, student_id_of
from workers.store import QuotaExceeded, RecordNotFound

REGISTER = Phase("register", Lane.IO, units=1, sequential=False, weight=1)
CHECK = Phase("check", Lane.METHOD, units=1, sequential=False, weight=0.01)
PREDICT = Phase("predict", Lane.IO, units=1, sequential=False, weight=1)

#: What of an upload lies in the dataset's folder, until it is registered.
UPLOADED_ARCHIVE, UPLOADED_FILES = "upload.zip", "upload"


def submit_folder(
    services: Services,
    body: DatasetCreate,
    *,
    hidden: bool = False,
    priority: int = Priority.NORMAL,
    submitter: str = NOBODY,
) -> Record:
    """Register images that lie on the server.

    Raises:
        PathNotAllowed: they are not under the allowed roots, or cannot be read.
        Problem: one folder lies in another.
    """
    check_source(body.source, services.settings.allowed_roots)
    request = {
        "name": body.name,
        "source": body.source.model_dump(exclude_none=True),
        "max_bad_fraction": body.max_bad_fraction,
        "hidden": hidden,
    }
    return submit_record(
        services,
        Kind.DATASET,
        services.new_id("ds"),
        request,
        REGISTER,
        priority=priority,
        submitter=submitter,
    )


def check_source(source: ServerSource, roots: Sequence[Path]) -> None:
    if isinstance(source, ListSource):
        for path in source.paths or [str(source.file)]:
            allowed_file(path, roots)
        return
    try:
        separate_folders(folder_paths(source.model_dump()), roots)
    except FoldersOverlap as error:
        raise invalid(f"/source/paths/{error.inner}", str(error)) from error


def submit_upload(
    services: Services,
    upload: Upload,
    staging: Path,
    *,
    files_field: str,
    name: str | None = None,
    max_bad_fraction: float | None = None,
    hidden: bool = False,
    submitter: str = NOBODY,
) -> Record:
    """Register uploaded images: one archive, or the files of `files_field`.

    Raises:
        UnsupportedArchive, ArchiveRejected: the archive is not taken.
        Problem: fields that are missing or unknown.
    """
    archive = _check_fields(upload, files_field)
    if archive is not None:
        contents = check_archive(archive.path, services.settings)
        stored = {"images": len(contents.members), "bytes": contents.unpacked}
        source: dict[str, Any] = {"kind": "archive", "path": UPLOADED_ARCHIVE}
        source["filename"] = display_path(archive.raw_name)
        brought = archive.path
    else:
        files = upload.named(files_field)
        with disk_guard(services.data.root):
            _write_names(staging, files)
        source = {"kind": "files", "path": UPLOADED_FILES, "count": len(files)}
        stored = {"images": len(files), "bytes": sum(file.bytes for file in files)}
        brought = staging
    request = {
        "name": name,
        "source": source,
        "stored": stored,
        "max_bad_fraction": max_bad_fraction,
        "hidden": hidden,
    }
    return submit_record(
        services,
        Kind.DATASET,
        services.new_id("ds"),
        request,
        REGISTER,
        submitter=submitter,
        brought={source["path"]: brought},
    )


def submit_job(services: Services, body: JobCreate, *, submitter: str = NOBODY) -> Record:
    """Start a job on a dataset, or on a folder that is registered for it first.

    Raises:
        ConfigError: the preset or a field of the config is refused.
        PathNotAllowed: of the source.
    """
    config = checked_config(services, body)
    services.check_quota(Kind.JOB)
    priority = Priority[body.priority.upper()]
    dataset_id = _usable_dataset(services, body, priority=priority, submitter=submitter)
    request = {
        "dataset_id": dataset_id,
        "classes": [spec.model_dump() for spec in body.classes],
        "preset": body.preset,
        "config": config.to_dict(),
        "name": body.name,
        "metadata": body.metadata,
    }
    return _submit_job(services, request, priority=priority, submitter=submitter)


def checked_config(services: Services, body: JobCreate) -> DistillConfig:
    """The settings of a job.

    Raises:
        ConfigError: the preset or a field of the config is refused.
        Problem: a file that may not be read, or too few classes.
    """
    config = resolve(body.preset, body.config)
    _check_config(services, config)
    if len(body.classes) == 1 and not config.background:
        raise invalid(
            "/classes",
            "must name at least 2 classes where config.background is false: "
            "a softmax over one name is 1 for every image",
        )
    return config


def submit_retry(services: Services, job: Record, *, submitter: str = NOBODY) -> Record:
    """The same job again.

    Raises:
        Problem: it has neither failed nor been cancelled, or its dataset is gone.
    """
    if job.status not in {Status.FAILED, Status.CANCELLED}:
        raise Problem("job_not_retryable", f"{job.id} is {job.status}")
    check_dataset(services, job.request["dataset_id"])
    request = {**job.request, "retry_of": job.id, "warnings": _failed_for_good(job)}
    return _submit_job(services, request, priority=job.priority, submitter=submitter)


def _failed_for_good(job: Record) -> list[dict[str, Any]]:
    """A warning where only something else than the job itself can make another end of it."""
    if job.error is None or job.error.retryable:
        return []
    message = (
        f"{job.id} failed with {job.error.code}, which comes again unless something was changed: "
        f"{job.error.message}"
    )
    return [{"code": "not_retryable", "classes": [], "message": message, "hint": job.error.hint}]


def _submit_job(
    services: Services, request: Mapping[str, Any], *, priority: int, submitter: str
) -> Record:
    return submit_record(
        services,
        Kind.JOB,
        services.new_id("job"),
        request,
        CHECK,
        waits_for=request["dataset_id"],
        priority=priority,
        submitter=submitter,
        passes=passes_of(DistillConfig(**request["config"])),
    )


def submit_prediction(
    services: Services, job: Record, body: PredictionCreate, *, submitter: str = NOBODY
) -> Record:
    """Ask the student of `job` about a dataset or a folder."""
    dataset_id = _usable_dataset(services, body, hidden=True, submitter=submitter)
    request = {"student_id": student_id_of(job.id), "dataset_id": dataset_id, "name": body.name}
    return submit_record(
        services,
        Kind.PREDICTION,
        services.new_id("pred"),
        request,
        PREDICT,
        waits_for=dataset_id,
        submitter=submitter,
        passes=1,
    )


def student_job(services: Services, student_id: str) -> Record:
    """The succeeded job that trained a student.

    Raises:
        Problem: `student_not_found`.
    """
    if student_id.startswith("stu_"):
        try:
            job = services.record(f"job_{student_id.removeprefix('stu_')}", "job")
        except Problem:
            raise not_found(student_id, "stu") from None
        if job.status is Status.SUCCEEDED:
            return job
    raise not_found(student_id, "stu")


def _usable_dataset(
    services: Services,
    body: JobCreate | PredictionCreate,
    *,
    hidden: bool = False,
    priority: int = Priority.NORMAL,
    submitter: str,
) -> str:
    """The id of a dataset that is there and has not failed, or of a new one of the source."""
    if body.source is not None:
        new = DatasetCreate(name=body.name, source=body.source)
        return submit_folder(
            services, new, hidden=hidden, priority=priority, submitter=submitter
        ).id
    assert body.dataset_id is not None, "the schemas see to it"
    check_dataset(services, body.dataset_id)
    return body.dataset_id


def check_dataset(services: Services, dataset_id: str) -> Record:
    dataset = services.record(dataset_id, "ds")
    if dataset.error is not None:
        raise Problem(
            "dataset_failed", f"{dataset.id}: {dataset.error.code}, {dataset.error.message}"
        )
    return dataset


def submit_record(
    services: Services,
    kind: Kind,
    id: str,
    request: Mapping[str, Any],
    phase: Phase,
    *,
    waits_for: str | None = None,
    priority: int = Priority.NORMAL,
    submitter: str = NOBODY,
    passes: int = 0,
    brought: Mapping[str, Path] | None = None,
) -> Record:
    """Durable on disk, then recorded, then rung for; nothing is left of what failed.

    But for the folder of a request with a key: that is for the next try.
    `brought` are files and folders in staging that the record's own folder is to have, by name.
    The folder appears whole, in one step.
    """
    asked: dict[str, Any] = {
        "request": request,
        "waits_for": waits_for,
        "request_id": current_request_id(),
        "priority": priority,
        "submitter": submitter,
        "project": services.caller.project,
        "passes": passes,
    }
    folder = services.data.of(kind, id)
    is_ours = False
    try:
        with services.data.staging(f"request-{id}") as own, disk_guard(services.data.root):
            for name, path in (brought or {}).items():
                path.rename(own / name)
            write_request(own, kind=kind, id=id, phases=(phase,), mark=services.mark, **asked)
            is_ours = _appears(own, folder)
            sync_folder(folder.parent)
        if not is_ours:
            kept = read_kept(folder)
            asked |= {"request": kept.request, "waits_for": kept.waits_for, "passes": kept.passes}
        fault("submit.written", id, redis=services.store.redis)
        services.store.redis.ping()
    except BaseException:
        # The same request, sent again with its key, may have found the folder and be accepted.
        if is_ours and services.mark is None:
            services.data.discard(folder)
        raise
    # From here on Redis may have taken it even if it does not answer: what it needs stays.
    try:
        record = services.store.create(kind, id, phases=[phase], quotas=services.quotas, **asked)
    except (QuotaExceeded, RecordNotFound, ResponseError):
        if not _is_known(services, id):  # a first try may have been taken, its answer lost
            services.data.discard(folder)
        raise
    services.ring(phase.lane)
    return record


def _appears(own: Path, folder: Path) -> bool:
    """Whether `own` is `folder` now; if not, the same request was here before and left the same."""
    try:
        own.rename(folder)
    except OSError:
        if not (folder / REQUEST).exists():
            raise
        return False
    return True


def _is_known(services: Services, id: str) -> bool:
    try:
        services.store.get(id)
    except RecordNotFound:
        return False
    return True


def _check_fields(upload: Upload, files_field: str) -> UploadedFile | None:
    """The archive of an upload, or None where it has files."""
    for file in upload.files:
        if file.field not in {"archive", files_field}:
            raise invalid(f"/{file.field}", "is not a field of this request")
    archives, files = upload.named("archive"), upload.named(files_field)
    if len(archives) > 1:
        raise invalid("/archive", "is given twice")
    if bool(archives) == bool(files):
        raise invalid("", f"needs either archive (a zip file) or {files_field}, and not both")
    return archives[0] if archives else None


def _write_names(folder: Path, files: Sequence[UploadedFile]) -> None:
    """The list that tells what each numbered file was called."""
    rows = [{"file": file.path.name, "name": _file_name(file)} for file in files]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_durably(folder / NAMES, lines.encode("ascii"))
    sync_folder(folder)  # the uploaded files' own entries with it


def _file_name(file: UploadedFile) -> str:
    name = display_path(file.raw_name)
    is_nameless = PurePosixPath(name).name in {"", ".."}
    return f"unnamed-{file.path.name}" if is_nameless else name


def _check_config(services: Services, config: DistillConfig) -> None:
    """Refuse a file that the service may not read; whether it is there, phase `check` tells."""
    named: dict[str, str] = {}
    if config.teacher.startswith("local-dir:"):
        named["teacher"] = config.teacher.removeprefix("local-dir:")
    if config.student_weights not in {"imagenet", "random"}:
        named["student_weights"] = config.student_weights
    weights = services.settings.weights_folder.resolve()
    for field, place in named.items():
        if not _may_be_read(place, services.settings.allowed_roots, weights):
            raise invalid(
                f"/config/{field}",
                "must lie below one of the folders of CCD_ALLOWED_ROOTS or below CCD_WEIGHTS, "
                f"is {shown(place)}",
            )


def _may_be_read(place: str, roots: Sequence[Path], weights: Path) -> bool:
    """Whether a file lies below the weights, or below a root and in no data folder."""
    try:
        path = Path(place).resolve()
        if not Path(place).is_absolute() or path.is_relative_to(weights):
            return Path(place).is_absolute()
        return any(path.is_relative_to(root) for root in roots) and not is_services_own(path)
    except (OSError, RuntimeError, ValueError):  # a loop of links; a NUL in the name
        return False
