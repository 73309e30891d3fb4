"""Request bodies of calls that take JSON or files."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio.to_thread import run_sync
from fastapi import Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.creating import Creation, Show
from app.dataset_schemas import MaxBadFraction
from app.deps import Services
from app.errors import Problem, invalid
from app.middleware import declared_length
from app.text import Name
from app.uploads import Upload, is_json, is_multipart, receive_upload, upload_folder
from workers.jobs import Kind, Record

Body = TypeVar("Body", bound=BaseModel)

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_FRACTION: TypeAdapter[float] = TypeAdapter(MaxBadFraction)


async def read_json(request: Request, kind: type[Body]) -> Body:
    """The JSON body as `kind`.

    Raises:
        Problem: it is no JSON.
        ValidationError: it is no `kind`.
    """
    text = await request.body()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem("malformed_request", f"the body is not JSON: {error}") from error
    return kind.model_validate(content)


async def create_from_json_or_files(
    creation: Creation,
    kind: type[Body],
    *,
    from_json: Callable[[Services, Body], Record],
    from_upload: Callable[[Services, Upload, Path], Record],
    show: Show,
    makes_dataset: bool = True,
) -> Response:
    """Read the body, whichever it is, and answer with what it makes.

    Raises:
        Problem: it is neither JSON nor multipart, or breaks the rules of what it is.
        ValidationError: fields are wrong.
    """
    request, services = creation.request, creation.services
    if is_json(request):
        body = await read_json(request, kind)
        return await creation.of_json(lambda own: from_json(own, body), show)
    if not is_multipart(request):
        raise Problem(
            "unsupported_media_type", "send application/json, or multipart/form-data with files"
        )
    if makes_dataset:
        declared = declared_length(request.scope)
        await run_sync(partial(services.check_quota, Kind.DATASET, more_bytes=declared))
    async with upload_folder(services.data) as folder:
        upload = await receive_upload(
            request, folder, data=services.data, max_bytes=services.settings.max_upload_bytes
        )
        accepted = await creation.accept(
            upload.content(), lambda own: from_upload(own, upload, folder), show
        )
    return await creation.answer(accepted, show)


def text_fields(upload: Upload, known: set[str]) -> dict[str, Any]:
    """The text fields of an upload, checked as in a JSON body.

    Raises:
        Problem: a field is unknown.
        ValidationError: a field is wrong.
    """
    for field in upload.fields.keys() - known:
        raise invalid(f"/{field}", "is not a field of this request")
    found: dict[str, Any] = {}
    for field, adapter in (("name", _NAME), ("max_bad_fraction", _FRACTION)):
        if field in upload.fields:
            found[field] = _validated(adapter, field, upload.fields[field])
    return found


def _validated(adapter: TypeAdapter[Any], field: str, text: str) -> Any:
    try:
        return adapter.validate_strings(text)
    except ValidationError as error:
        raise invalid(f"/{field}", f"{error.errors()[0]['msg']}, is {text[:80]!r}") from error
