"""A query field that a route does not know is refused: it was meant to change the answer."""

from collections.abc import Sequence
from itertools import islice

from fastapi import Depends, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from app.auth import is_open
from app.errors import FieldError, invalid_fields, pointer_of, shown
from app.text import near_names

#: Fields that a problem names, and characters of one that are compared: a query may have many.
MAX_NAMED, MAX_COMPARED = 5, 100


async def _check(request: Request) -> None:
    # Whoever asks whether it lives may add what he likes.
    if not request.query_params or is_open(request.scope["path"]):
        return
    known = _fields_of(request.scope["route"])
    unknown = (name for name in dict.fromkeys(request.query_params.keys()) if name not in known)
    errors = [_refusal(name, known) for name in islice(unknown, MAX_NAMED)]
    if errors:
        raise invalid_fields(errors)


#: For all routes at once.
KNOWN_QUERY = Depends(_check)


def _fields_of(route: APIRoute) -> list[str]:
    """The names of all query fields of a route, those of its dependencies too."""
    found = get_flat_params(route.dependant)
    return [field.alias for field in found if isinstance(field.field_info, params.Query)]


def _refusal(name: str, known: Sequence[str]) -> FieldError:
    cut = name[:MAX_COMPARED]
    allowed = near_names(cut, known, called="fields") if known else "it takes none"
    reason = f"{shown(cut)} is no query field of this call; {allowed}"
    return FieldError(pointer=pointer_of(["query", cut]), reason=reason)
