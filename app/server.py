"""uvicorn as this service runs it: answers without an end are ended when it stops."""

import socket

import uvicorn
from fastapi import FastAPI

#: Seconds that calls in hand have to finish when the server stops.
GRACE_SECONDS = 4


class Server(uvicorn.Server):
    """Tells those who watch jobs to go before it waits for the last answer."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services = getattr(getattr(self.config.app, "state", None), "services", None)
        if services is not None:  # it may have failed while it started
            services.hub.end()
        await super().shutdown(sockets)


def config_of(app: FastAPI, *, grace_seconds: int = GRACE_SECONDS) -> uvicorn.Config:
    """The log is ours alone."""
    return uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=grace_seconds
    )
