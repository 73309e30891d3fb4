"""Workers: who does the work, where, and what each has in hand."""

from typing import Any

from fastapi import APIRouter, Response

from app.auth import ADMIN_ONLY
from app.deps import ServicesDep
from app.openapi import problems
from app.replies import json_reply
from app.worker_schemas import WorkerPage
from workers.registry import Registry, WorkerEntry

router = APIRouter(prefix="/v1/workers", tags=["workers"], dependencies=[ADMIN_ONLY])


@router.get(
    "",
    operation_id="list_workers",
    summary="List the workers that are there",
    response_model=WorkerPage,
    responses=problems(),
)
def list_workers(services: ServicesDep) -> Response:
    """One that falls silent is listed until its lease would have run out, by default 60 s."""
    data = [_worker_reply(entry) for entry in Registry(services.store).list()]
    return json_reply({"data": data, "next_cursor": None})


def _worker_reply(entry: WorkerEntry) -> dict[str, Any]:
    standing = entry.standing
    unit = (
        dict(zip(("record_id", "phase", "unit"), entry.unit, strict=True)) if entry.unit else None
    )
    return {
        "name": standing.name,
        "lane": standing.lane,
        "host": standing.host,
        "pid": standing.pid,
        "version": standing.version,
        "method": standing.method,
        "device": standing.device,
        "memory_bytes": standing.memory_bytes,
        "memory_used_bytes": standing.memory_used_bytes,
        "gpu_utilization": standing.gpu_utilization,
        "draining": standing.draining,
        "unit": unit,
        "images_per_second": standing.images_per_second,
        "started_at": entry.started_at,
        "heartbeat_at": entry.heard_at,
    }
