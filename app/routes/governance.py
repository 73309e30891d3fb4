"""What a project may use and has used, and who did what."""

from typing import Any

from fastapi import APIRouter, Response

from app.audit import AuditLog
from app.auth import ADMIN_ONLY
from app.deps import DEFAULT_PAGE, Cursor, Limit, ServicesDep
from app.key_schemas import AuditPage, Usage
from app.openapi import problems
from app.replies import json_reply

router = APIRouter(prefix="/v1", tags=["keys"])


@router.get(
    "/usage",
    operation_id="get_usage",
    summary="Get what your project has used, and what it may",
    response_model=Usage,
    responses=problems(),
)
def get_usage(services: ServicesDep) -> Response:
    """`limit` is null where there is none."""
    settings, used = services.settings, services.store.usage(services.caller.project)
    quotas: dict[str, Any] = {
        name: {"used": used[name], "limit": limit or None}
        for name, limit in services.quotas.items()
    }
    rate = settings.rate_requests
    requests = {"per_second": rate, "burst": settings.rate_burst} if rate else None
    return json_reply(
        {"project": services.caller.project, "quotas": quotas, "requests": requests},
        headers={"Cache-Control": "no-store"},
    )


@router.get(
    "/audit",
    operation_id="list_audit",
    summary="Read who changed what, and who was denied, newest first",
    response_model=AuditPage,
    responses=problems(),
    dependencies=[ADMIN_ONLY],
)
def list_audit(
    services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """Of all projects."""
    found, next_cursor = AuditLog(services.data).page(cursor, limit)
    return json_reply({"data": found, "next_cursor": next_cursor})
