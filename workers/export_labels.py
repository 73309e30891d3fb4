"""The unit of an export: the labels of a stage become one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from workers.durable import SEAL
from workers.exports.folders import write_folders
from workers.exports.formats import SUMMARY, ExportFormat, Losses, file_name, stored_name
from workers.exports.json_files import write_coco, write_label_studio
from workers.exports.source import Export, OnImages, export_of
from workers.exports.tables import write_csv, write_jsonl, write_parquet, write_wide_csv
from workers.files import read_json, write_json
from workers.jobs import Claim, Kind
from workers.units import Finished, OnBatch, Workbench

Write = Callable[[Export, Path, OnImages], Losses]

WRITERS: dict[ExportFormat, Write] = {
    ExportFormat.CSV: write_csv,
    ExportFormat.CSV_WIDE: write_wide_csv,
    ExportFormat.PARQUET: write_parquet,
    ExportFormat.JSONL: write_jsonl,
    ExportFormat.COCO: write_coco,
    ExportFormat.LABEL_STUDIO: write_label_studio,
}


def export_labels(claim: Claim, bench: Workbench, on_batch: OnBatch) -> Finished:
    """Write the file, unless another export of the same labels has left it."""
    request, folder = claim.record.request, bench.folder
    format = ExportFormat(request["format"])

    def make(staging: Path) -> None:
        export = export_of(request, folder, folder.of(Kind.EXPORT, claim.record.id))
        write = WRITERS.get(format) or partial(
            write_folders, read_image=bench.files(request["dataset_id"]).read
        )
        losses = write(export, staging / stored_name(format), _only_forward(on_batch))
        images = export.labels.count()
        write_json(staging / SUMMARY, {"images": images, "losses": losses.to_json()})

    name = folder.produce(f"export_labels-{request['digest']}", make, nonce=claim.nonce)
    summary = read_json(folder.phase(name) / SUMMARY)
    facts = {
        "counts": {"images": summary["images"]},
        "losses": summary["losses"],
        "file": _file_of(request, folder.phase(name)),
    }
    return Finished(name, summary["images"], facts=facts)


def _only_forward(on_batch: OnBatch) -> OnImages:
    """For a file that takes several passes over the images: the first one counts."""
    furthest = 0

    def on_images(done: int) -> None:
        nonlocal furthest
        furthest = max(furthest, done)
        on_batch(furthest)

    return on_images


def _file_of(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The file as it is downloaded."""
    files = {entry["name"]: entry for entry in read_json(folder / SEAL)["files"]}
    stored = files[stored_name(ExportFormat(request["format"]))]
    return {
        "name": file_name(request),
        "bytes": stored["size"],
        "sha256": stored["sha256"],
    }
