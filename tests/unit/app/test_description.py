"""/openapi.json: complete, stable, and the one that is committed."""

import json
import re
import threading
from pathlib import Path

import anyio
import httpx
import jsonschema_rs
import pytest

from app.auth import is_open
from app.description import as_text
from app.errors import MEDIA_TYPE
from app.main import create_app
from app.openapi import ALWAYS, BINARY, COMMON
from app.problem_kinds import KINDS
from workers.settings import Settings

DESCRIBED = create_app(Settings()).openapi()
OPERATIONS = {
    operation["operationId"]: (path, operation)
    for path, item in DESCRIBED["paths"].items()
    for operation in item.values()
}
COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"
each = pytest.mark.parametrize("name", sorted(OPERATIONS))


def contents(operation):
    """(whose, media type, content) of the bodies that a call takes and answers."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield "request", media_type, content
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {}).items():
            yield status, media_type, content


def examples(content):
    found = [resolved(example)["value"] for example in content.get("examples", {}).values()]
    return [*found, content["example"]] if "example" in content else found


def resolved(described):
    if "$ref" not in described:
        return described
    _, kind, name = described["$ref"].rsplit("/", 2)
    return DESCRIBED["components"][kind][name]


def components(kind):
    return DESCRIBED["components"][kind]


def codes(operation):
    return {
        code
        for _, media_type, content in contents(operation)
        if media_type == MEDIA_TYPE
        for code in content["examples"]
    }


def test_the_committed_description_is_that_of_the_service():
    assert json.loads(COMMITTED.read_text()) == json.loads(as_text(DESCRIBED)), (
        "the description has changed: look at what callers lose, then `make openapi` writes "
        "docs/openapi.json anew"
    )


def test_nobody_else_waits_while_the_description_is_made_and_it_is_made_once():
    app = create_app(Settings())
    begun, may_end, made = threading.Event(), threading.Event(), []

    def openapi():
        made.append(1)
        begun.set()
        assert may_end.wait(20)
        return {"openapi": "3.1.0"}

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(client.get, "/openapi.json")
                assert await anyio.to_thread.run_sync(begun.wait, 20)
                assert (await client.get("/livez")).status_code == 200
                may_end.set()
            return (await client.get("/openapi.json")).json()

    app.openapi = openapi

    assert anyio.run(ask) == {"openapi": "3.1.0"}
    assert made == [1]


def test_schemas_have_names_that_stay():
    """Of two classes of one name, or of one that is read otherwise, the place would be told."""
    odd = [name for name in components("schemas") if not re.fullmatch("[A-Z][A-Za-z]+", name)]

    assert odd == []


def test_every_call_has_a_name_of_its_own_verb_first():
    named = [o["operationId"] for item in DESCRIBED["paths"].values() for o in item.values()]

    assert len(named) == len(set(named))
    verbs = r"(get|list|create|delete|cancel|retry|change|rotate|revoke)"
    assert [name for name in named if not re.fullmatch(verbs + r"(_[a-z]+)+", name)] == []


@each
def test_a_call_says_what_it_does_and_how_it_fails(name):
    path, operation = OPERATIONS[name]

    assert operation["summary"]
    assert operation["tags"]
    assert codes(operation) >= ({*ALWAYS} if is_open(path) else {*ALWAYS, *COMMON})


@each
def test_a_call_shows_an_example_of_each_body(name):
    _, operation = OPERATIONS[name]
    bare = [
        (whose, media_type)
        for whose, media_type, content in contents(operation)
        if not examples(content)
        and content.get("schema", BINARY) != BINARY  # a file is no example
        and media_type != "multipart/form-data"  # the same
    ]

    assert bare == []
    assert any(status.startswith("2") for status in operation["responses"])


@each
def test_examples_are_what_their_schemas_ask_for(name):
    _, operation = OPERATIONS[name]

    for whose, media_type, content in contents(operation):
        schema = {**content.get("schema", {}), "components": DESCRIBED["components"]}
        for example in examples(content):
            if "json" in media_type and "nd" not in media_type:
                errors = [str(e) for e in jsonschema_rs.iter_errors(schema, example)]
                assert errors == [], (whose, media_type)


def test_all_that_is_referred_to_is_there_and_every_error_is_a_problem():
    referred = set(re.findall(r'"#/components/(\w+)/([^"]+)"', json.dumps(DESCRIBED)))

    assert DESCRIBED["openapi"].startswith("3.1")
    assert {(kind, name) for kind, name in referred if name not in components(kind)} == set()
    for _, operation in OPERATIONS.values():
        for status, media_type, _ in contents(operation):
            assert (media_type == MEDIA_TYPE) == status.startswith(("4", "5"))


def test_nothing_is_described_that_no_call_has():
    text = json.dumps(DESCRIBED)
    unused = [
        f"{kind}/{name}"
        for kind, found in DESCRIBED["components"].items()
        if kind != "securitySchemes"
        for name in found
        if f"#/components/{kind}/{name}" not in text
    ]

    # What the framework or the server answers where there is no call.
    assert set(unused) <= {
        f"examples/{code}" for code in ("method_not_allowed", "not_found", "request_refused")
    } | {f"examples/{name}" for name in DESCRIBED["components"]["schemas"]}


def test_keys_are_declared_and_asked_of_all_calls_but_those_that_need_none():
    assert DESCRIBED["security"] == [{"key": []}]
    assert DESCRIBED["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    without = {path for path, operation in OPERATIONS.values() if operation.get("security") == []}
    assert without == {path for path in DESCRIBED["paths"] if is_open(path)}


def test_who_deletes_a_dataset_reads_before_what_is_answered_with_410_then():
    said = OPERATIONS["delete_dataset"][1]["description"]

    assert all(word in said for word in ("`dataset_deleted`", "/cam", "yolo_cls", "predictions"))


def test_every_code_of_an_error_can_be_met():
    met = set().union(*(codes(operation) for _, operation in OPERATIONS.values()))

    # These come where there is no call.
    assert set(KINDS) - met == {"method_not_allowed", "request_refused"}
