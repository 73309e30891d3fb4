"""Where the service is, and the key for it."""

import json
import os
from pathlib import Path

#: Where a service listens unless told otherwise.
USUAL_URL = "http://127.0.0.1:8000"


def service_url(url: str | None = None) -> str:
    """The address given, else the one of CCD_URL, else the usual one."""
    return (url or os.environ.get("CCD_URL") or USUAL_URL).rstrip("/")


def service_key(url: str, key: str | None = None) -> str | None:
    """The key given, else CCD_API_KEY, else what the credentials file has for `url`."""
    return key or os.environ.get("CCD_API_KEY") or _stored_keys().get(url.rstrip("/"))


def credentials_file() -> Path:
    """A JSON object of keys by address, readable by its owner alone."""
    named = os.environ.get("CCD_CREDENTIALS")
    if named:
        return Path(named).expanduser()
    return Path("~/.config/ccd/credentials.json").expanduser()


def _stored_keys() -> dict[str, str]:
    try:
        stored = json.loads(credentials_file().read_bytes())
    except (OSError, ValueError, RuntimeError):  # none, no JSON, or no home folder
        return {}
    if not isinstance(stored, dict):
        return {}
    return {str(url).rstrip("/"): str(key) for url, key in stored.items()}
