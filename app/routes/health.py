"""Whether the service lives, whether it can work, and how it does."""

import os

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from app.auth import ADMIN_ONLY
from app.deps import ServicesDep
from app.errors import Problem
from app.exposition import MEDIA_TYPE
from app.metrics import scrape
from app.openapi import ALWAYS, only_problems, problems
from app.replies import json_reply
from app.schemas import Health

router = APIRouter(tags=["health"])


@router.get(
    "/livez",
    operation_id="get_liveness",
    summary="Whether the process answers",
    response_model=Health,
    responses=only_problems(*ALWAYS),
)
async def get_liveness() -> Response:
    """Asks nobody else: it answers while Redis is down."""
    return json_reply({"status": "ok"})


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Whether work can be accepted",
    response_model=Health,
    responses=only_problems("service_not_ready", "redis_unavailable", *ALWAYS),
)
def get_readiness(services: ServicesDep) -> Response:
    """Redis answers and the data folder can be written."""
    services.store.redis.ping()
    if not os.access(services.data.staging_root, os.W_OK | os.X_OK):
        raise Problem("service_not_ready", "the data folder cannot be written")
    return json_reply({"status": "ok"})


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
    dependencies=[ADMIN_ONLY],
    responses=problems(),
)
def get_metrics(services: ServicesDep) -> Response:
    """In its text format; docs/operations.md says what to watch. Answers while Redis is down."""
    return Response(scrape(services), media_type=MEDIA_TYPE)
