"""Bodies of requests and answers about keys."""

from typing import Annotated, Literal

from pydantic import Field

from app.callers import Scope
from app.schemas import Reply, Request
from app.text import Name
from workers.settings import SUBMITTER_PATTERN

#: A key may live this long, unless it lives for good.
MAX_DAYS = 3650
#: An old secret may hold this long beside the new one, in seconds.
MAX_GRACE_SECONDS = 30 * 24 * 3600

Project = Annotated[str, Field(pattern=SUBMITTER_PATTERN)]


class KeyCreate(Request):
    """Make a key."""

    name: Name = Field(description="What it is for.", examples=["nightly pipeline"])
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(Scope),
        description="`write` includes `read`, `admin` includes both.",
        examples=[["write"]],
    )
    project: Project | None = Field(
        default=None,
        description="Whose records it opens; a new name is a new project. Null: yours.",
        examples=["street-scenes"],
    )
    expires_in_days: (
        Annotated[float, Field(gt=0, le=MAX_DAYS, allow_inf_nan=False, strict=True)] | None
    ) = Field(default=None, description="Null: it holds until it is revoked.")


class KeyRotate(Request):
    """Give a key a new secret."""

    grace_seconds: Annotated[
        float, Field(ge=0, le=MAX_GRACE_SECONDS, allow_inf_nan=False, strict=True)
    ] = Field(default=0, description="How long the present secret holds beside the new one.")


class KeyRead(Reply):
    """A key, without its secret."""

    id: str
    name: str
    project: str
    scopes: list[Scope]
    created_by: str | None = Field(
        description="The key that made it; null for one made on the service's own machine."
    )
    created_at: str
    expires_at: str | None
    rotated_at: str | None = Field(description="When it got its present secret, if not at first.")
    revoked_at: str | None
    last_used_at: str | None = Field(description="To the minute; null where that is not known.")


class KeySecret(KeyRead):
    """A key with its secret, which is told this once."""

    secret: str = Field(description="ID.SECRET, as the header Authorization has it after Bearer.")


class KeyPage(Reply):
    """A page of keys."""

    data: list[KeyRead]
    next_cursor: str | None


class Quota(Reply):
    """One thing that a project uses."""

    used: int
    limit: int | None


class Quotas(Reply):
    """All that a project may use."""

    bytes: Quota = Field(description="Of uploads, as they were sent.")
    images: Quota = Field(description="Of ready datasets.")
    jobs: Quota = Field(description="That wait or run.")


class RequestRate(Reply):
    """How often a key may call."""

    per_second: float
    burst: int


class Usage(Reply):
    """What a project has used, and what it may."""

    project: str
    quotas: Quotas
    requests: RequestRate | None


class AuditRow(Reply):
    """A change, or a call that was denied."""

    at: str
    key_id: str | None
    claimed_key_id: str | None = Field(
        description="The key that was named where none, or another one, was proven."
    )
    project: str | None
    operation: str | None = Field(description="The operationId; null where none was reached.")
    method: str
    path: str
    record_id: str | None = Field(description="What was made, or what the address names.")
    status: int
    outcome: Literal["done", "denied", "refused", "failed"]
    request_id: str | None
    address: str


class AuditPage(Reply):
    """A page of the audit log."""

    data: list[AuditRow]
    next_cursor: str | None
