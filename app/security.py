"""Who may reach the service: the loopback rule, and the headers that protect a browser."""

import ipaddress

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: On every answer. The API serves data, never a page that runs scripts.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class UnsafeBind(Exception):
    """The API would be reachable from other machines, and it has no keys yet."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} can be reached from other machines and the service asks nobody for a key; "
            "bind 127.0.0.1, or give --insecure if the network is yours alone"
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


def check_bind(host: str, *, insecure: bool) -> None:
    """Refuse to bind anything but loopback, unless it was asked for by name.

    Raises:
        UnsafeBind: `host` is not a loopback address and `insecure` is false.
    """
    if not insecure and not is_loopback(host):
        raise UnsafeBind(host)


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
