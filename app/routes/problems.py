"""A page per error code: what `type` of a problem leads to."""

from dataclasses import asdict

from fastapi import APIRouter, Response

from app.errors import Problem, shown
from app.openapi import ALWAYS, only_problems
from app.problem_kinds import KINDS
from app.replies import json_reply
from app.schemas import ProblemExplained, ProblemList

router = APIRouter(prefix="/problems", tags=["problems"])


@router.get(
    "",
    operation_id="list_problems",
    summary="List the codes of errors",
    response_model=ProblemList,
    responses=only_problems(*ALWAYS),
)
def list_problems() -> Response:
    """Every code that an answer may carry."""
    return json_reply({"data": [_explained(code) for code in KINDS], "next_cursor": None})


@router.get(
    "/{code}",
    operation_id="get_problem",
    summary="Explain the code of an error",
    response_model=ProblemExplained,
    responses=only_problems("not_found", *ALWAYS),
)
def get_problem(code: str) -> Response:
    """What it means and what helps."""
    if code not in KINDS:
        raise Problem("not_found", f"there is no code {shown(code)}")
    return json_reply(_explained(code))


def _explained(code: str) -> dict[str, object]:
    return {"code": code, **asdict(KINDS[code])}
