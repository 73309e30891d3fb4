"""What a route says of its answers and bodies beyond what FastAPI finds by itself."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from app.errors import MEDIA_TYPE
from app.problem_kinds import KINDS

REF = "#/components/schemas/{model}"
EXAMPLE = "#/components/examples/{name}"

#: Any call that creates may answer these because of its key, or of what is there already.
CREATE_PROBLEMS = ("idempotency_in_flight", "idempotency_key_reused", "quota_exceeded")

#: Any call that sends a file may answer these because of its headers, and of the file.
FILE_PROBLEMS = ("bad_range", "range_not_satisfiable", "precondition_failed", "artifact_corrupt")
#: Any call that needs a key may answer these.
COMMON = (
    *("unauthorized", "scope_missing", "rate_limited", "service_not_ready"),
    *("invalid_request", "redis_unavailable", "redis_unsafe"),
)
#: Any call at all may answer these.
ALWAYS = ("bad_host", "head_too_large", "internal_error")


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these codes, and the common ones."""
    return only_problems(*codes, *COMMON, *ALWAYS)


def only_problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these codes alone."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = KINDS[code]
        found = by_status.setdefault(kind.status, _no_problem_yet())
        text = f"`{code}`: {kind.title}."
        found["description"] = f"{found['description']} {text}".strip()
        examples = found["content"][MEDIA_TYPE]["examples"]
        examples[code] = {"$ref": EXAMPLE.format(name=code)}
    return by_status


def _no_problem_yet() -> dict[str, Any]:
    schema = {"$ref": REF.format(model="Problem")}
    return {"description": "", "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}}


def created(model: type[BaseModel], *codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that creates what `model` shows."""
    done = {"model": model, "description": "It was done within `Prefer: wait=N`."}
    return {200: done, **problems(*codes, *CREATE_PROBLEMS)}


JSON = "application/json"
BINARY = {"type": "string", "format": "binary"}
#: Of answers for which a client has the file, or the object, already.
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "The client has it."}}


def download(description: str, *media_types: str) -> dict[int | str, Any]:
    """The `responses` of a route that sends a file of one of these types."""
    sent = {"description": description, "content": _bytes_of(media_types)}
    return {200: sent, **part_of(*media_types)}


def part_of(*media_types: str) -> dict[int | str, Any]:
    """The `responses` of a route whose client has its file already, or wants a part of it."""
    description = "The part that the header Range asks for."
    return {206: {"description": description, "content": _bytes_of(media_types)}, **UNCHANGED}


def _bytes_of(media_types: Sequence[str]) -> dict[str, Any]:
    """Files: bytes, but where they might be read as JSON, of which a part is none."""
    return {name: {} if name == JSON else {"schema": BINARY} for name in media_types}


def json_or_files(kind: type[BaseModel], *, files_field: str) -> dict[str, Any]:
    """The `openapi_extra` of a call that takes JSON or image files."""
    properties = {
        "name": {"type": "string", "minLength": 1, "maxLength": 200},
        "archive": {**BINARY, "description": "A zip file; or give the files themselves."},
        files_field: {"type": "array", "items": BINARY, "description": "Image files."},
    }
    return json_or_form(kind, properties)


def json_or_form(kind: type[BaseModel], properties: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a call that takes JSON or a form with these fields."""
    form = {"type": "object", "properties": properties}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": REF.format(model=kind.__name__)}},
                "multipart/form-data": {"schema": form},
            },
        }
    }
