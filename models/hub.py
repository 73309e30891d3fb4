"""Model files from the network: within seconds it is known whether they can be had."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.constants as hub

#: Seconds to wait for a first answer. The hub's own client tries for 23 s a file, several files.
PROBE_SECONDS = 5.0


@contextmanager
def cache_only_if_unreachable() -> Iterator[None]:
    """While the block runs, an unreachable model hub is not asked: only its local cache is."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not reachable(hub.ENDPOINT)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def reachable(url: str) -> bool:
    """Does a server answer for this URL, with whatever answer? Proxies of the environment count."""
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  callers pass https URLs
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
