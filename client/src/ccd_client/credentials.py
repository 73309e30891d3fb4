"""Where the service is, and the key for it."""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from ccd_client.errors import BadSetting

#: Where a service listens unless told otherwise.
USUAL_URL = "http://127.0.0.1:8000"


def service_url(url: str | None = None) -> str:
    """The address given, else the one of CCD_URL, else the usual one."""
    return (url or os.environ.get("CCD_URL") or USUAL_URL).rstrip("/")


def service_key(url: str, key: str | None = None) -> str | None:
    """The key given, else CCD_API_KEY, else what the credentials file has for `url`."""
    return given_key(key) or stored_keys().get(address_of(url))


def given_key(key: str | None = None) -> str | None:
    """The key given, else CCD_API_KEY: it is for no address in particular."""
    return key or os.environ.get("CCD_API_KEY") or None


def check_url(url: str) -> None:
    """Refuse what is no address.

    Raises:
        BadSetting: with what one looks like.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_address = is_address and (parts.port is None or parts.port > 0)
    except ValueError:
        is_address = False
    if not is_address:
        raise BadSetting(f"the address of a service is like {USUAL_URL}, is {url!r}")


def checked_key(key: str) -> str:
    """A key that a header can hold.

    Raises:
        BadSetting: it cannot; the key itself is not repeated.
    """
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise BadSetting("a key is written in printable ASCII, without spaces")
    return key


def credentials_file() -> Path:
    """A JSON object of keys by address, readable by its owner alone."""
    named = os.environ.get("CCD_CREDENTIALS")
    if named:
        return Path(named).expanduser()
    return Path("~/.config/ccd/credentials.json").expanduser()


def address_of(url: str) -> str:
    """An address as the file has it: no slash at its end, `localhost` by its number."""
    parts = urlsplit(url.rstrip("/"))
    if parts.hostname != "localhost":
        return url.rstrip("/")
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"127.0.0.1{port}").geturl()


def stored_keys() -> dict[str, str]:
    """What the file has; nothing where it cannot be read."""
    try:
        stored = json.loads(credentials_file().read_bytes())
    except (OSError, ValueError, RuntimeError):  # none, no JSON, or no home folder
        return {}
    if not isinstance(stored, dict):
        return {}
    texts = {url: key for url, key in stored.items() if isinstance(key, str)}
    return {url.rstrip("/"): key for url, key in texts.items()}
