"""The service that `ccd run` talks to: one that is there, or one started for the purpose."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.callers import Scope
from app.children import start_child, stop_child, tail
from app.credentials import forget_key, keep_key
from app.keys import KeyStore
from app.standalone import SERVICE_FILE
from ccd_client import BadSetting, Client, Patience, ServiceUnreachable
from ccd_client.credentials import USUAL_URL, given_key
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
        BadSetting: one is there, and the key given is for one that was not named.
    """
    patience = Patience(on_retry=lambda failure: say(f"{failure}; trying again"))
    there = url or running_url(settings)
    if there is None:
        with Client(USUAL_URL) as client:
            there = known_url(settings, key) if client.is_ready() else None
    if there is not None:
        with Client(there, key, patience=patience) as client:
            if not client.is_ready():
                raise ServiceUnreachable(f"no service is ready at {there}")
            yield client
        return
    with (
        _own_key(settings) as own_key,
        _own_service(folder, settings, say) as own,
        _kept_key(own, own_key, say),
        Client(own, own_key, patience=patience) as client,
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
def _kept_key(url: str, key: str | None, say: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile the user's other commands find the key of our service."""
    if key is None:
        yield
        return
    try:
        keep_key(url, key)
    except OSError as error:
        say(f"other commands are not let in: no key can be kept: {error.strerror}")
    try:
        yield
    finally:
        with suppress(OSError):
            forget_key(url, key)


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
        say("the service of this run stops; what is not done goes on at its next start here")
        stop_child(service, seconds=STOP_SECONDS)


def _await_service(service: subprocess.Popen[bytes], settings: Settings, *, log: Path) -> str:
    gives_up_at = time.monotonic() + START_SECONDS
    while _written(settings).get("pid") != service.pid:
        if service.poll() is not None or time.monotonic() > gives_up_at:
            raise ServiceUnreachable(f"the service did not start; the end of {log}:\n{tail(log)}")
        time.sleep(0.1)
    return str(_written(settings)["url"])


def _written(settings: Settings) -> dict[str, Any]:
    """What a running service of this user wrote into its data folder."""
    file = settings.data / SERVICE_FILE
    try:
        return dict(json.loads(file.read_text())) if file.stat().st_uid == os.getuid() else {}
    except (OSError, ValueError, TypeError):
        return {}


def running_url(settings: Settings) -> str | None:
    """Where the service of a data folder listens, if this user runs one.

    A key is sent there, and anybody may have put the file into the folder: it is the user's own,
    its process lives, and no other machine's address is taken.
    """
    written = _written(settings)
    url = str(written.get("url"))
    return url if _lives(written.get("pid")) and _is_of_this_machine(url) else None


def known_url(settings: Settings, key: str | None) -> str:
    """Where the service of a data folder listens; else the usual address.

    Raises:
        BadSetting: anybody may listen at the usual one, and a key was given that is for another.
    """
    url = running_url(settings)
    if url is None and given_key(key) is not None:
        raise BadSetting(
            "a key was given and no service: it is sent only to one that is named, "
            f"--url {USUAL_URL} or CCD_URL={USUAL_URL}"
        )
    return url or USUAL_URL


def _lives(pid: object) -> bool:
    """Whether this user has a process of that id."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _is_of_this_machine(url: str) -> bool:
    try:
        host = ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return host.is_loopback or host.is_unspecified
