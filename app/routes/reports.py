"""The health report of a job: the page and its figures."""

from fastapi import APIRouter, Request, Response

from app.deps import ServicesDep
from app.downloads import send_file
from app.openapi import FILE_PROBLEMS, download, part_of, problems
from app.report_schemas import HealthReport
from app.reports import page_headers, report_file
from workers.files import HEALTH, PAGE

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

PROBLEMS = ("job_not_found", "not_ready", "artifact_not_found", *FILE_PROBLEMS)


@router.get(
    "/report",
    operation_id="get_report",
    summary="Show the health report of a job in a browser",
    response_class=Response,
    responses={
        **download("A page that needs nothing else.", "text/html"),
        **problems(*PROBLEMS),
    },
)
@router.head("/report", include_in_schema=False)
def get_report(job_id: str, request: Request, services: ServicesDep) -> Response:
    """The artifact `report.html` is the same page, to be kept."""
    record = services.record(job_id, "job")
    page = report_file(record, PAGE, store=services.store, data=services.data)
    return send_file(request, page, data=services.data, headers=page_headers(page))


@router.get(
    "/health",
    operation_id="get_job_health",
    summary="Read what was found about a job without knowing the truth",
    response_model=HealthReport,
    responses={**part_of("application/json"), **problems(*PROBLEMS)},
)
@router.head("/health", include_in_schema=False)
def get_job_health(job_id: str, request: Request, services: ServicesDep) -> Response:
    """Figures of every class, and findings with what to do about them."""
    record = services.record(job_id, "job")
    figures = report_file(record, HEALTH, store=services.store, data=services.data)
    headers = {"Content-Disposition": figures.disposition("inline")}
    return send_file(request, figures, data=services.data, headers=headers)
