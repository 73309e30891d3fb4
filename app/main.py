"""The API: routes, error table, and what lives as long as the process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI

from app.audit import Audit, AuditLog
from app.auth import Authenticate
from app.dataset_schemas import DatasetCreate
from app.deps import Services
from app.description import describe
from app.errors import add_error_handlers
from app.evaluation_schemas import EvaluationCreate
from app.event_stream import OpenStreams
from app.hub import Hub
from app.keys import KeyStore
from app.known_query import KNOWN_QUERY
from app.middleware import AccessLog, BodyCap, RequestId
from app.replies import job_replies
from app.request_times import RequestTimes
from app.routes import (
    artifacts,
    datasets,
    evaluations,
    events,
    exports,
    governance,
    health,
    images,
    jobs,
    keys,
    labels,
    predictions,
    problems,
    progress,
    reports,
    students,
    thresholds,
    workers,
)
from app.security import KnownHosts, SecurityHeaders
from app.student_schemas import PredictionCreate
from workers.deletion import sweep
from workers.files import DataFolder
from workers.job_log import keep_log
from workers.jobs import Record
from workers.outcomes import ended, keep_end
from workers.queue import make_celery, ring
from workers.reaper import Reaper
from workers.settings import Settings
from workers.store import Store, connect_async, open_store
from workers.version import code_version

ROUTERS = (
    *(datasets, jobs, events, progress, labels, images, artifacts, reports),
    *(students, thresholds, predictions, evaluations, exports),
    *(keys, governance, workers, health, problems),
)


def create_app(settings: Settings) -> FastAPI:
    """The application; Redis need not answer yet."""
    data = DataFolder(settings.data)
    times, keys, audit = RequestTimes(), KeyStore(data), AuditLog(data)
    app = FastAPI(
        title="ccd-service",
        summary="A folder of images and class names in; labels and a trained classifier out.",
        version=code_version(),
        lifespan=partial(_lifespan, settings=settings, times=times, keys=keys),
        # The pages load scripts from elsewhere; /openapi.json is all that is needed, and `describe`
        # sends it.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    for routes in ROUTERS:
        app.include_router(routes.router, dependencies=[KNOWN_QUERY])
    add_error_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyCap)
    app.add_middleware(Authenticate, keys=keys if settings.auth else None, settings=settings)
    app.add_middleware(Audit, audit=audit)
    app.add_middleware(KnownHosts, loopback_only=not settings.auth)
    app.add_middleware(AccessLog, observe=times.observe)
    app.add_middleware(RequestId)
    app.add_middleware(SecurityHeaders)
    describe(app, DatasetCreate, PredictionCreate, EvaluationCreate)
    return app


@asynccontextmanager
async def _lifespan(
    app: FastAPI, *, settings: Settings, times: RequestTimes, keys: KeyStore
) -> AsyncIterator[None]:
    """Opened in order, closed in reverse: store, doorbell, reaper, watchers."""
    async with AsyncExitStack() as stack:
        data = DataFolder(settings.data)
        data.create()
        store = open_store(settings)
        stack.callback(store.redis.close)
        celery = make_celery(settings)
        stack.callback(celery.close)
        reaper = Reaper(
            store,
            settings,
            ring=partial(ring, celery),
            sweep=partial(sweep, store, data),
            keep_end=partial(keep_end, data),
            keep_log=partial(keep_log, data),
            ended=partial(ended, data),
        )
        reaper.start()
        stack.callback(reaper.stop)
        hub = await _open_hub(stack, settings, store)
        app.state.services = Services(
            *(settings, store, data, partial(ring, celery), times, hub, keys),
            OpenStreams(settings.max_streams_per_key),
        )
        yield


async def _open_hub(stack: AsyncExitStack, settings: Settings, store: Store) -> Hub:
    """Those who watch jobs, and the one connection that listens for them."""

    async def show(record: Record) -> dict[str, Any]:
        return (await run_sync(job_replies, [record], store))[0]

    client = connect_async(settings)
    stack.push_async_callback(client.aclose)
    hub = Hub(client, show)
    listening = asyncio.create_task(hub.run())

    async def stop() -> None:
        listening.cancel()
        await asyncio.wait([listening])

    stack.push_async_callback(stop)
    return hub
