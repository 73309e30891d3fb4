"""What /openapi.json says beyond what FastAPI finds by itself."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.auth import is_open
from app.errors import KINDS, MEDIA_TYPE, ProblemBody

REF = "#/components/schemas/{model}"
#: What FastAPI describes as the body of a 422, which is never sent.
UNUSED = ("HTTPValidationError", "ValidationError")

#: Any call that creates may answer these because of its key.
KEY_PROBLEMS = ("idempotency_in_flight", "idempotency_key_reused")

#: Any call that needs a key may answer these.
COMMON = (
    "unauthorized",
    "scope_missing",
    "rate_limited",
    "invalid_request",
    "redis_unavailable",
    "redis_unsafe",
)
#: How a key is sent.
SCHEME = {"type": "http", "scheme": "bearer", "bearerFormat": "key_ID.SECRET"}

TAGS = [
    {"name": "datasets", "description": "Images that nobody has labelled."},
    {"name": "jobs", "description": "Runs of the method over a dataset."},
    {"name": "students", "description": "The classifiers that jobs trained."},
    {"name": "predictions", "description": "Students' answers on new images."},
    {"name": "evaluations", "description": "How good a job's labels are, where truth is known."},
    {"name": "exports", "description": "Labels as files that other tools read."},
    {"name": "keys", "description": "Who may call, and what."},
    {"name": "workers", "description": "Who does the work."},
    {"name": "health", "description": "Whether the service can work."},
    {"name": "problems", "description": "What the codes of errors mean."},
]


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these codes, and the common ones."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, *COMMON):
        kind = KINDS[code]
        found = by_status.setdefault(kind.status, {"description": ""})
        text = f"`{code}`: {kind.title}."
        found["description"] = f"{found['description']} {text}".strip()
        found["content"] = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
    return by_status


def created(model: type[BaseModel], *codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that creates what `model` shows."""
    done = {"model": model, "description": "It was done within `Prefer: wait=N`."}
    return {200: done, **problems(*codes, *KEY_PROBLEMS)}


BINARY = {"type": "string", "format": "binary"}


def json_or_files(kind: type[BaseModel], *, files_field: str) -> dict[str, Any]:
    """The `openapi_extra` of a call that takes JSON or image files."""
    properties = {
        "name": {"type": "string", "maxLength": 200},
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


def describe(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Give `app` a description that knows problems and the `bodies` that it reads by itself."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, bodies)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(app: FastAPI, bodies: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    described = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
        tags=TAGS,
    )
    components = described.setdefault("components", {})
    components["securitySchemes"] = {"key": SCHEME}
    described["security"] = [{"key": []}]
    for path, item in described["paths"].items():
        if is_open(path):
            for operation in item.values():
                operation["security"] = []
    schemas = components.setdefault("schemas", {})
    for name in UNUSED:
        schemas.pop(name, None)
    problem = _schema(ProblemBody)
    for name, schema in [("Problem", problem), *((b.__name__, _schema(b)) for b in bodies)]:
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = {**schema, "title": name}
    return described


def _schema(body: type[BaseModel]) -> dict[str, Any]:
    return body.model_json_schema(ref_template=REF)
