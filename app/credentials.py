"""Keeps the key of a service where its clients look for it."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from app.security import is_loopback
from ccd_client.credentials import address_of, credentials_file, stored_keys
from workers.files import write_json


def keep_key(url: str, key: str) -> Path:
    """Keep the key of a service, for this user alone, and tell where.

    A service on this machine has moved where the same key was kept under another address of it.
    """
    address, kept = address_of(url), stored_keys()
    if _is_here(address):
        kept = {
            other: its_key
            for other, its_key in kept.items()
            if its_key != key or not _is_here(other)
        }
    return _write({**kept, address: key})


def forget_key(url: str, key: str) -> None:
    """Keep the key of a service no longer; another one of the same address stays."""
    address, kept = address_of(url), stored_keys()
    if kept.get(address) == key:
        del kept[address]
        _write(kept)


def _write(keys: Mapping[str, str]) -> Path:
    file = credentials_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(file, keys, mode=0o600)
    return file


def _is_here(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")
