"""Labels as one JSON file: COCO's instances with labels of whole images, Label Studio's tasks."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from workers.exports.formats import Losses
from workers.exports.source import Export, OnImages

#: Names in Label Studio's configuration.
CHOICES, IMAGE = "labels", "image"


def write_coco(export: Export, target: Path, on_images: OnImages) -> Losses:
    """Images, categories and annotations; an annotation has a score and no box."""
    categories = {name: number for number, name in enumerate(export.names, 1)}
    info = {
        "description": "Labels of whole images: an annotation has a category and no box",
        "contributor": f"{export.job_id}, stage {export.stage}",
        "version": str(export.labels.thresholds_version or 1),
    }
    listed = [{"id": number, "name": name} for name, number in categories.items()]
    with target.open("w", encoding="utf-8") as file:
        file.write(f'{{"info":{_json(info)},"licenses":[],"categories":{_json(listed)},"images":')
        _write_list(file, _coco_images(export, on_images))
        file.write(',"annotations":')
        _write_list(file, _coco_annotations(export, categories, on_images))
        file.write("}\n")
    return Losses(notes=["Scores of classes that are no labels are left out."])


def write_label_studio(export: Export, target: Path, on_images: OnImages) -> Losses:
    """A task for each image, with a prediction that has the labels as choices."""
    with target.open("w", encoding="utf-8") as file:
        _write_list(file, _tasks(export, on_images))
        file.write("\n")
    return Losses()


def label_config(names: Iterable[str]) -> str:
    """The labelling interface that tasks of these classes are for."""
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in names)
    return (
        f'<View><Image name="{IMAGE}" value="${IMAGE}"/>'
        f'<Choices name="{CHOICES}" toName="{IMAGE}" choice="multiple">{choices}</Choices></View>'
    )


def _coco_images(export: Export, on_images: OnImages) -> Iterator[Mapping[str, Any]]:
    for number, (image, _) in enumerate(export.pairs(on_images), 1):
        yield {
            "id": number,
            "file_name": image["path"],
            "width": image["width"],
            "height": image["height"],
            "image_id": image["image_id"],
        }


def _coco_annotations(
    export: Export, categories: Mapping[str, int], on_images: OnImages
) -> Iterator[Mapping[str, Any]]:
    count = 0
    for number, (_, row) in enumerate(export.pairs(on_images), 1):
        for name in row["labels"]:
            count += 1
            yield {
                "id": count,
                "image_id": number,
                "category_id": categories[name],
                "iscrowd": 0,
                "score": row["scores"][name],
            }


def _tasks(export: Export, on_images: OnImages) -> Iterator[Mapping[str, Any]]:
    version = export.labels.thresholds_version
    model = f"{export.job_id} {export.stage}{f' v{version}' if version else ''}"
    for image, row in export.pairs(on_images):
        yield {
            "data": {
                IMAGE: export.image_prefix + quote(image["path_raw"]),
                "image_id": row["image_id"],
                "path": row["path"],
                "scores": row["scores"],
            },
            "predictions": [
                {"model_version": model, "score": _sureness(row), "result": _choices(row)}
            ],
        }


def _choices(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if not row["labels"]:
        return []
    return [
        {
            "id": CHOICES,
            "from_name": CHOICES,
            "to_name": IMAGE,
            "type": "choices",
            "value": {"choices": row["labels"]},
        }
    ]


def _sureness(row: Mapping[str, Any]) -> float:
    """The score of the least sure of the labels; 0 without any."""
    return min((row["scores"][name] for name in row["labels"]), default=0.0)


def _write_list(file: IO[str], items: Iterable[Mapping[str, Any]]) -> None:
    """A JSON list, an item a line: no more than one of them is in memory."""
    before = "[\n"
    for item in items:
        file.write(before + _json(item))
        before = ",\n"
    file.write("[]" if before == "[\n" else "\n]")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
