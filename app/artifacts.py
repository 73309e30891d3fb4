"""The files that a job makes, under the names that users see."""

from collections.abc import Iterator

from app.downloads import StoredFile, stored_file
from app.reports import report_files
from app.student_files import student_files
from workers.files import MANIFEST, SKIPPED, DataFolder
from workers.jobs import Record
from workers.stages import student_id_of
from workers.store import Store

DATASET_FILES = (MANIFEST, SKIPPED)
#: What a phase leaves that users may want; columns are in the order of the fact `class_order`.
PHASE_FILES = {
    "debias": "labels.safetensors",
    "localize": "views.safetensors",
    "update": "labels.safetensors",
    "score": "scores.safetensors",
}
#: Phases whose units are epochs: `<phase>-<digest>` has its weights in `weights-<digest>`.
EPOCH_PHASES = ("warm_up", "train")


def artifacts_of(record: Record, *, store: Store, data: DataFolder) -> list[StoredFile]:
    """What is there now: student, exports, report, lists, stage files and the epochs kept."""
    outputs = store.outputs(record.id)
    found = [
        *student_files(student_id_of(record.id), outputs, data),
        *report_files(outputs, data),
        *(stored_file(data.dataset(record.request["dataset_id"]), file) for file in DATASET_FILES),
        *_phase_files(outputs, data),
    ]
    return [stored for stored in found if stored is not None]


def _phase_files(
    outputs: dict[tuple[str, int], str], data: DataFolder
) -> Iterator[StoredFile | None]:
    for (phase, unit), folder in sorted(outputs.items()):
        name = f"{phase}-{unit}.safetensors"
        if phase in PHASE_FILES:
            yield stored_file(data.phase(folder), PHASE_FILES[phase], name=name)
        elif phase in EPOCH_PHASES:
            digest = folder.partition("-")[2]
            yield stored_file(data.phase(f"weights-{digest}"), "state.safetensors", name=name)
