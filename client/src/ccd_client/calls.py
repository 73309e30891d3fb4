"""A call to the service before it is made: what is sent, and whether it may be sent again."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import httpx

#: Makes a call that creates something safe to repeat.
IDEMPOTENCY_KEY = "Idempotency-Key"
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
    """The path of the v1 interface with these segments, whatever is in them."""
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


def create(path: str, body: Mapping[str, Any]) -> Call:
    """Make something, once, however often the call is sent."""
    return Call("POST", path, json=given(body), headers={IDEMPOTENCY_KEY: uuid.uuid4().hex})


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that were left open."""
    return {name: value for name, value in fields.items() if value is not None}
