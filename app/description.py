"""/openapi.json: what FastAPI finds, with problems, keys, headers and an example of everything."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.auth import is_open
from app.errors import MEDIA_TYPE, ProblemBody
from app.examples import EXAMPLES, TEXTS
from app.openapi import EXAMPLE, JSON, REF, UNCHANGED, only_problems
from app.problem_kinds import KINDS
from app.replies import json_text
from app.security import READING
from workers.settings import Settings

#: What FastAPI describes as the body of a 422, which is never sent.
UNUSED = ("HTTPValidationError", "ValidationError")
#: How a key is sent.
SCHEME = {"type": "http", "scheme": "bearer", "bearerFormat": "key_ID.SECRET"}
#: Statuses that no call answers which needs no key.
OF_KEYS = ("401", "403")

#: What a call that sends a file reads of the request by itself.
FILE_HEADERS = {
    "Range": "`bytes=first-last`: this part of the file.",
    "If-Range": "The ETag of the file that the part belongs to; else the whole one comes.",
    "If-Match": "The ETag of the file that is wanted; else 412.",
    "If-None-Match": "The ETag of the file that the client has; then 304.",
}
#: What headers of answers tell.
HEADERS = {
    "Content-Range": "Which part this is, and of how many bytes.",
    "Location": "Where it is.",
    "WWW-Authenticate": "How a key is sent.",
    "X-Request-ID": "By which the log of the service knows the request.",
}
HEADER = "#/components/headers/{name}"
ALWAYS_TOLD = ("X-Request-ID",)
TOLD = {
    "201": ("Location",),
    "206": ("Content-Range",),
    "401": ("WWW-Authenticate",),
    "416": ("Content-Range",),
}

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


def describe(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Give `app` a description that knows problems and the `bodies` that it reads by itself.

    It takes a second or more to make, so a thread makes it, once, when it is first asked for.
    """
    lock = asyncio.Lock()
    content = b""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, bodies)
        return app.openapi_schema

    async def send(_: Request) -> Response:
        nonlocal content
        async with lock:
            content = content or await run_sync(lambda: json_text(app.openapi()).encode())
        return Response(content, media_type=JSON)

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route("/openapi.json", send)


def _described(app: FastAPI, bodies: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    described = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
        tags=TAGS,
    )
    described["security"] = [{"key": []}]
    components = described.setdefault("components", {})
    components["securitySchemes"] = {"key": SCHEME}
    _add_schemas(components.setdefault("schemas", {}), bodies)
    components["headers"] = {name: _told(text) for name, text in HEADERS.items()}
    components["examples"] = _examples(components["schemas"])
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if method.upper() not in READING:
                _refuse_foreign_pages(operation["responses"])
            _complete(operation, components["examples"], needs_key=not is_open(path))
    return described


def _add_schemas(schemas: dict[str, Any], bodies: tuple[type[BaseModel], ...]) -> None:
    for name in UNUSED:
        schemas.pop(name, None)
    problem = _schema(ProblemBody)
    problem["properties"]["code"]["enum"] = list(KINDS)
    for name, schema in [("Problem", problem), *((b.__name__, _schema(b)) for b in bodies)]:
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = {**schema, "title": name}


def _schema(body: type[BaseModel]) -> dict[str, Any]:
    return body.model_json_schema(ref_template=REF)


def _examples(schemas: dict[str, Any]) -> dict[str, Any]:
    """By name of a schema or code of a problem; a list has one entry, that of what it lists."""
    found = {name: {"value": value} for name, value in EXAMPLES.items()}
    for name, schema in schemas.items():
        listed = schema.get("properties", {}).get("data", {}).get("items", {}).get("$ref")
        if listed and name not in found:
            data = [found[_name(listed)]["value"]]
            rest = {"next_cursor": None} if "next_cursor" in schema["properties"] else {}
            found[name] = {"value": {"data": data, **rest}}
    return {**found, **{code: {"value": _problem(code)} for code in KINDS}}


def _problem(code: str) -> dict[str, Any]:
    kind = KINDS[code]
    body = ProblemBody(
        type=f"/problems/{code}",
        title=kind.title,
        status=kind.status,
        detail=kind.explanation,
        code=code,
        request_id="req_5f0c1d2e3b4a5968",
    )
    return body.model_dump(exclude_none=True)


def _refuse_foreign_pages(responses: dict[str, Any]) -> None:
    """What any call may be answered that changes something."""
    [(status, response)] = only_problems("foreign_page").items()
    before = responses.get(str(status), response)
    examples = response["content"][MEDIA_TYPE]["examples"]
    if before is not response:
        response["description"] = f"{before['description']} {response['description']}"
        examples |= before["content"][MEDIA_TYPE]["examples"]
    responses[str(status)] = response


def _complete(operation: dict[str, Any], examples: dict[str, Any], *, needs_key: bool) -> None:
    """What all calls have in common."""
    responses = operation["responses"]
    if not needs_key:
        operation["security"] = []
        for status in OF_KEYS:
            responses.pop(status, None)
    if "application/json" in responses.get("422", {}).get("content", {}):  # the framework's own
        del responses["422"]
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        parameter["schema"] = _without_null(parameter["schema"])
    if any(parameter["name"] == "if-none-match" for parameter in parameters):
        responses.setdefault("304", dict(UNCHANGED[304]))
    if "206" in responses:
        parameters += [_header(name, text) for name, text in FILE_HEADERS.items()]
    for status, response in responses.items():
        told = (*ALWAYS_TOLD, *TOLD.get(status, ()))
        response["headers"] = {name: {"$ref": HEADER.format(name=name)} for name in told}
    for media_type, content in _contents(operation):
        _add_examples(media_type, content, examples)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter may be left out; there is no null to send."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**kinds[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


def _told(description: str) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string"}}


def _contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for described in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from described.get("content", {}).items()


def _add_examples(media_type: str, content: dict[str, Any], examples: dict[str, Any]) -> None:
    if media_type in TEXTS:
        content["example"] = TEXTS[media_type]
        return
    schema = content.get("schema", {})
    names = [_name(kind["$ref"]) for kind in (schema, *schema.get("anyOf", ())) if "$ref" in kind]
    found = {name: {"$ref": EXAMPLE.format(name=name)} for name in names if name in examples}
    if found and media_type != MEDIA_TYPE:
        content["examples"] = found


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def main() -> None:
    """Write the description to the file that the first argument names."""
    from app.main import create_app

    described = create_app(Settings()).openapi()
    Path(sys.argv[1]).write_text(as_text(described), encoding="utf-8")


def as_text(described: dict[str, Any]) -> str:
    """A description as docs/openapi.json has it: of no version, for each commit has its own."""
    info = {**described["info"], "version": "0"}
    return json.dumps({**described, "info": info}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
