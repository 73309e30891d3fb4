"""A call to the service before it is made: what is sent, and whether it may be sent again."""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import quote

import httpx

from ccd_client.errors import BadSetting

#: Makes a call that creates something safe to repeat.
IDEMPOTENCY_KEY = "Idempotency-Key"
_KEY = re.compile(r"[!-~]{1,255}")
USUAL_TIMEOUT = httpx.Timeout(30, connect=5)


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    #: Makes the bytes of a body that is not JSON, anew for each try.
    body: Callable[[], Iterator[bytes]] | None = None
    timeout: httpx.Timeout = field(default_factory=lambda: USUAL_TIMEOUT)
    #: False: whoever listens there is not shown the key.
    with_key: bool = True

    @property
    def can_repeat(self) -> bool:
        """Whether it may be sent again though it may have been heard."""
        return self.method in {"GET", "HEAD"} or IDEMPOTENCY_KEY in self.headers

    def with_headers(self, headers: Mapping[str, str]) -> "Call":
        """The same call with more headers."""
        return replace(self, headers={**self.headers, **headers})


def at(*segments: str) -> str:
    """The path of the v1 interface with these segments, whatever is in them.

    Raises:
        BadSetting: one is no text, or empty: that would be the address of something else.
    """
    for segment in cast("tuple[object, ...]", segments):  # of who checks no types
        if not isinstance(segment, str) or not segment:
            raise BadSetting(f"an id or name is a text and not empty, is {segment!r}")
    return "/".join(["/v1", *(quote(segment, safe="") for segment in segments)])


def get(path: str, *, wait_seconds: float = 0, **params: Any) -> Call:
    """Read; `wait_seconds` asks the service to answer only when the work has ended."""
    if wait_seconds < 1:
        return Call("GET", path, params=given(params))
    return Call(
        "GET",
        path,
        params=given(params),
        headers={"Prefer": f"wait={wait_seconds:.0f}"},
        timeout=httpx.Timeout(30 + wait_seconds, connect=5),
    )


def create(path: str, body: Mapping[str, Any], idempotency_key: str | None = None) -> Call:
    """Make something, once, however often the call is sent."""
    return Call("POST", path, json=given(body), headers=once(idempotency_key))


def once(idempotency_key: str | None) -> dict[str, str]:
    """The header under which something is made once: with the user's key, else a new one.

    Raises:
        BadSetting: it cannot be a key.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        allowed = "1 to 255 visible ASCII characters"
        raise BadSetting(f"idempotency_key must have {allowed}, is {idempotency_key!r}")
    return {IDEMPOTENCY_KEY: idempotency_key or uuid.uuid4().hex}


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that were left open."""
    return {name: value for name, value in fields.items() if value is not None}
