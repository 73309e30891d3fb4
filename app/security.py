"""Who may reach the service: the loopback rule, and the headers that protect a browser."""

import ipaddress
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Problem, problem_response, shown

#: On every answer. The API serves data, never a page that runs scripts.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
#: Methods that change nothing.
READING = frozenset({"GET", "HEAD"})
#: What browsers call pages of another address, be it another port of this machine.
FOREIGN_SITES = frozenset({"cross-site", "same-site"})
#: A name or an address, and perhaps a port.
HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class UnsafeBind(Exception):
    """The API would be reachable from other machines, and it asks for no keys."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} can be reached from other machines and the service asks nobody for a key; "
            "bind 127.0.0.1, or leave out --no-auth (CCD_AUTH=false)"
        )
        self.host = host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name: who knows where it leads
        return False


def check_bind(host: str, *, auth: bool) -> None:
    """Without keys bind nothing but loopback.

    Raises:
        UnsafeBind: `host` is not a loopback address and the service asks for no keys.
    """
    if not auth and not is_loopback(host):
        raise UnsafeBind(host)


class KnownHosts:
    """Refuses a request whose header Host is none, or another's, or that a foreign page sends.

    Args:
        app: what answers.
        loopback_only: a service that asks nobody for a key is there for this machine alone: a page
            of some other host whose name leads here must not speak to it, and no page but its own
            may change anything.
    """

    def __init__(self, app: ASGIApp, *, loopback_only: bool) -> None:
        self._app, self._loopback_only = app, loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._refusal(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            answer = problem_response(problem, scope["state"]["request_id"])
            await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        given = Headers(scope=scope).getlist("host")
        if not given and scope["http_version"] == "1.0":
            return None
        if len(given) != 1 or (found := HOST.fullmatch(given[0])) is None:
            return Problem("bad_host", f"must name one host and perhaps a port, is {shown(given)}")
        if self._loopback_only and not is_loopback(found["name"]):
            return Problem(
                "bad_host",
                f"this service is for its own machine alone, under localhost or a loopback "
                f"address, and not under {shown(found['name'])}",
            )
        return _foreign_page(scope, given[0]) if self._loopback_only else None


def _foreign_page(scope: Scope, host: str) -> Problem | None:
    """The problem of a change that a browser sends for the page of another address.

    A form needs nobody's leave to be sent anywhere, so the browser's word is looked at; curl and
    other programs say nothing of the kind.
    """
    if scope["method"] in READING:
        return None
    headers = Headers(scope=scope)
    foreign = [site for site in headers.getlist("sec-fetch-site") if site in FOREIGN_SITES]
    origins = headers.getlist("origin")
    foreign += [o for o in origins if o.partition("://")[2].lower() != host.lower()]
    if not foreign:
        return None
    return Problem("foreign_page", f"a page of {shown(foreign[-1])} sends this, and not {host}")


class SecurityHeaders:
    """Adds `SECURITY_HEADERS` to every answer that does not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_protected)
