"""The service that `ccd run` talks to: one that is there, or one started for the purpose."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.callers import Scope
from app.children import start_child, stop_child, tail
from app.keys import KeyStore
from app.standalone import SERVICE_FILE
from ccd_client import Client, ServiceUnreachable
from ccd_client.credentials import USUAL_URL
from workers.files import DataFolder
from workers.settings import Settings

#: How long our own service may take to be ready and to stop, in seconds.
START_SECONDS, STOP_SECONDS = 120.0, 50.0
#: The key to a service of our own ends by itself after this, should nobody be left to end it.
LONGEST_RUN_DAYS = 30


@contextmanager
def ready_service(
    url: str | None,
    key: str | None,
    *,
    folder: Path,
    settings: Settings,
    say: Callable[[str], None],
) -> Iterator[Client]:
    """The service at `url`, else one that runs here, else one of our own that may read `folder`.

    Raises:
        ServiceUnreachable: there is none at `url`, or none could be started.
    """
    if url is not None:
        with Client(url, key) as client:
            if not client.is_ready():
                raise ServiceUnreachable(f"no service is ready at {url}")
            yield client
        return
    for running in (written_url(settings), USUAL_URL):
        with Client(running, key) as client:
            if client.is_ready():
                yield client
                return
    with (
        _own_key(settings) as own_key,
        _own_service(folder, settings, say) as own,
        Client(own, own_key) as client,
    ):
        yield client


@contextmanager
def _own_key(settings: Settings) -> Iterator[str | None]:
    """A key to a service of our own, for as long as that is there."""
    if not settings.auth:
        yield None
        return
    data = DataFolder(settings.data)
    data.create()
    keys = KeyStore(data)
    key, token = keys.create("ccd run", [Scope.WRITE], expires_in_days=LONGEST_RUN_DAYS)
    try:
        yield token
    finally:
        keys.forget(key.id)


@contextmanager
def _own_service(folder: Path, settings: Settings, say: Callable[[str], None]) -> Iterator[str]:
    """A service for this one run; its data folder stays, so that a later run reuses its work."""
    say(f"no service is running: one is started for this run, data in {settings.data}")
    log = settings.data / "logs" / "serve.log"
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    service = start_child(
        [
            *(*command, "--host", "127.0.0.1", "--no-first-key"),
            *("--allow", folder, "--data", settings.data),
        ],
        log=log,
    )
    try:
        yield _await_service(service, settings, log=log)
    finally:
        say("the service of this run stops")
        stop_child(service, seconds=STOP_SECONDS)


def _await_service(service: subprocess.Popen[bytes], settings: Settings, *, log: Path) -> str:
    gives_up_at = time.monotonic() + START_SECONDS
    while _written_pid(settings) != service.pid:
        if service.poll() is not None or time.monotonic() > gives_up_at:
            raise ServiceUnreachable(f"the service did not start; the end of {log}:\n{tail(log)}")
        time.sleep(0.1)
    return written_url(settings)


def _written(settings: Settings) -> dict[str, Any]:
    """What a running service of this user wrote into its data folder."""
    file = settings.data / SERVICE_FILE
    try:
        return dict(json.loads(file.read_text())) if file.stat().st_uid == os.getuid() else {}
    except (OSError, ValueError, TypeError):
        return {}


def written_url(settings: Settings) -> str:
    """Where the service of a data folder listens; else the usual address.

    A key is sent there, and anybody may have put the file into the folder: no other machine's
    address is taken.
    """
    url = str(_written(settings).get("url", USUAL_URL))
    return url if _is_of_this_machine(url) else USUAL_URL


def _is_of_this_machine(url: str) -> bool:
    try:
        host = ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return host.is_loopback or host.is_unspecified


def _written_pid(settings: Settings) -> int | None:
    return _written(settings).get("pid")
