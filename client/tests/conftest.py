"""A server that fails as told, and a service that does the real work."""

import json
import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccd_client import Client
from ccd_client.credentials import service_key
from scripted import QUICK, Scripted

#: Starts a service, where the client lies inside the service's own folder.
SERVING = Path(__file__).parents[2] / "tests" / "serving.py"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path, request):
    """Of whoever runs the tests; those against a service of theirs need them."""
    if "service" in request.fixturenames:
        return
    for name in ("CCD_URL", "CCD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CCD_CREDENTIALS", str(tmp_path / "credentials.json"))


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def client(scripted: Scripted) -> Iterator[Client]:
    with Client(scripted.url, patience=QUICK) as client:
        yield client


@pytest.fixture(scope="session")
def service(tmp_path_factory) -> Iterator[dict[str, str | None]]:
    """Address and key of the service at CCD_URL; else of one that is started for the tests."""
    if url := os.environ.get("CCD_URL"):
        yield {"url": url, "key": service_key(url)}
        return
    pytest.importorskip("app", reason="CCD_URL is not set, and the service is not installed")
    serving = runpy.run_path(str(SERVING))["Serve"]
    folder = tmp_path_factory.mktemp("service")
    keys = folder / "credentials.json"
    serve = serving(
        folder / "data", "--port", "0", env={"CCD_AUTH": "true", "CCD_CREDENTIALS": str(keys)}
    )
    try:
        url = serve.wait_until_ready().url()
        stored = json.loads(keys.read_text()) if keys.exists() else {}
        yield {"url": url, "key": stored.get(url)}
    finally:
        serve.end()
