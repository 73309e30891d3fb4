"""Bodies of requests out of what users hand over."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ccd_client.calls import given
from ccd_client.errors import BadSetting
from ccd_client.models import ClassSpec, DatasetFields

#: An id, or the dataset itself.
DatasetLike = str | DatasetFields
#: A name, a name with prompts, or the class of another job.
ClassLike = str | Mapping[str, Any] | ClassSpec
ServerPath = str | os.PathLike[str]
#: One folder of the server, or several that make one dataset.
ServerFolders = ServerPath | Sequence[ServerPath]


def images_body(
    dataset: DatasetLike | None, folder: ServerFolders | None, source: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Which images: of a dataset, of a folder of the server, or of another source there."""
    if sum(value is not None for value in (dataset, folder, source)) != 1:
        raise BadSetting("give one of dataset, folder and source, and no other")
    if dataset is not None:
        return {"dataset_id": dataset if isinstance(dataset, str) else dataset.id}
    return {"source": folder_source(folder) if folder is not None else dict(source or {})}


def folder_source(folder: ServerFolders) -> dict[str, Any]:
    """A folder of the server, or several."""
    if isinstance(folder, str | os.PathLike):
        return {"kind": "folder", "path": os.fspath(folder)}
    return {"kind": "folders", "paths": [os.fspath(one) for one in folder]}


def job_body(
    images: Mapping[str, Any], classes: Sequence[ClassLike], **fields: Any
) -> dict[str, Any]:
    """A job; fields that were left open are not sent."""
    if isinstance(classes, str):
        raise BadSetting(f"classes is a list of names, is {classes!r}")
    return {**images, "classes": [_class(one) for one in classes], **given(fields)}


def labels_params(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Filters as the service names them: `class_` is `class`, several stages are one text."""
    params = {name.removesuffix("_"): value for name, value in given(filters).items()}
    # Names may have commas: several classes are sent one by one.
    return {name: value if name == "class" else _text(value) for name, value in params.items()}


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _class(one: ClassLike) -> Any:
    if isinstance(one, ClassSpec):
        return {"name": one.name, "prompts": one.prompts}
    return one if isinstance(one, str) else dict(one)
