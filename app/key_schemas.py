"""Bodies of requests and answers about keys."""

from typing import Annotated

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
    expires_in_days: Annotated[float, Field(gt=0, le=MAX_DAYS, allow_inf_nan=False)] | None = Field(
        default=None, description="Null: it holds until it is revoked."
    )


class KeyRotate(Request):
    """Give a key a new secret."""

    grace_seconds: Annotated[float, Field(ge=0, le=MAX_GRACE_SECONDS, allow_inf_nan=False)] = Field(
        default=0, description="How long the present secret holds beside the new one."
    )


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
