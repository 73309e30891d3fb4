"""What an error of the client means for a command: what is said, and the exit code."""

from app.exit_codes import Exit
from ccd_client import (
    BadSetting,
    CcdError,
    DownloadDamaged,
    PackageMissing,
    Problem,
    ServerFault,
    ServiceUnreachable,
    Unavailable,
    UnexpectedAnswer,
    WaitTimedOut,
    WorkFailed,
)

#: The first kind that an error is of decides.
CODES: tuple[tuple[type[CcdError], Exit], ...] = (
    (Unavailable, Exit.NO_SERVICE),
    (ServerFault, Exit.BROKE_OFF),
    (Problem, Exit.REFUSED),
    (ServiceUnreachable, Exit.NO_SERVICE),
    (UnexpectedAnswer, Exit.NO_SERVICE),
    (BadSetting, Exit.REFUSED),
    (PackageMissing, Exit.REFUSED),
    (WaitTimedOut, Exit.BROKE_OFF),
    (DownloadDamaged, Exit.BROKE_OFF),
    (CcdError, Exit.FAILED),
)


def outcome(error: CcdError) -> tuple[str, Exit]:
    """What is told of an error, in the service's own words, and the exit code."""
    if isinstance(error, WorkFailed) and getattr(error.work, "status", "") == "cancelled":
        return "the job was cancelled", Exit.CANCELLED
    message = _described(error) if isinstance(error, Problem) else str(error)
    return message, next(code for kind, code in CODES if isinstance(error, kind))


def _described(problem: Problem) -> str:
    """The message, the next step where one is known, and the id by which the log knows it."""
    hint = f"; {problem.hint}" if problem.hint else ""
    if isinstance(problem, ServerFault):
        return f"the service cannot: {problem}{hint} (request {problem.request_id})"
    return f"the service refused: {problem}{hint}"
