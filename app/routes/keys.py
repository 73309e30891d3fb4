"""Keys: who may call, and what."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.auth import ADMIN_ONLY, last_uses
from app.deps import DEFAULT_PAGE, Cursor, Limit, Services, ServicesDep, not_found
from app.errors import Problem
from app.key_schemas import KeyCreate, KeyPage, KeyRead, KeyRotate, KeySecret
from app.keys import Key, KeyEnded, KeyNotFound, key_reply
from app.openapi import problems
from app.replies import json_reply, read_position, write_position

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post(
    "",
    status_code=201,
    operation_id="create_key",
    summary="Make a key",
    response_model=KeySecret,
    responses=problems("malformed_request", "body_too_large", "disk_full"),
    dependencies=[ADMIN_ONLY],
)
def create_key(body: KeyCreate, services: ServicesDep) -> Response:
    """Its secret is told this once. Keys of any project: scope `admin` is the service's own."""
    key, token = services.keys.create(
        body.name,
        body.scopes,
        project=body.project or services.caller.project,
        expires_in_days=body.expires_in_days,
        created_by=services.caller.key_id,
    )
    reply = {**key_reply(key), "secret": token}
    return json_reply(reply, status=201, headers=_told_once(f"/v1/keys/{key.id}"))


@router.get(
    "",
    operation_id="list_keys",
    summary="List keys, newest first",
    response_model=KeyPage,
    responses=problems(),
    dependencies=[ADMIN_ONLY],
)
def list_keys(
    services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """Of all projects, revoked ones too."""
    keys, start = services.keys.list(), read_position(cursor)
    page = keys[start : start + limit]
    has_more = start + limit < len(keys)
    return json_reply(
        {
            "data": _key_replies(services, page),
            "next_cursor": write_position(start + limit) if has_more else None,
        }
    )


@router.get(
    "/current",
    operation_id="get_current_key",
    summary="Get the key that this call is made with",
    response_model=KeyRead,
    responses=problems("key_not_found"),
)
def get_current_key(services: ServicesDep) -> Response:
    """Any scope will do. Where the service asks for no keys there is none."""
    key_id = services.caller.key_id
    if key_id is None:
        raise Problem("key_not_found", "the service asks for no keys: CCD_AUTH is false")
    return _reply(services, _found(services, key_id))


@router.get(
    "/{key_id}",
    operation_id="get_key",
    summary="Get a key",
    response_model=KeyRead,
    responses=problems("key_not_found"),
    dependencies=[ADMIN_ONLY],
)
def get_key(key_id: str, services: ServicesDep) -> Response:
    """Without its secret, which nobody knows."""
    return _reply(services, _found(services, key_id))


@router.post(
    "/{key_id}/rotate",
    operation_id="rotate_key",
    summary="Give a key a new secret",
    response_model=KeySecret,
    responses=problems("malformed_request", "key_not_found", "key_ended", "disk_full"),
    dependencies=[ADMIN_ONLY],
)
def rotate_key(
    key_id: str,
    services: ServicesDep,
    body: Annotated[KeyRotate | None, Body()] = None,
) -> Response:
    """The present secret holds for `grace_seconds` more, so that its users can change over."""
    grace_seconds = body.grace_seconds if body else 0
    try:
        key, token = services.keys.rotate(key_id, grace_seconds=grace_seconds)
    except KeyNotFound as error:
        raise not_found(key_id, "key") from error
    except KeyEnded as error:
        raise Problem("key_ended", f"{key_id} was revoked, or its time is over") from error
    return json_reply({**_key_replies(services, [key])[0], "secret": token}, headers=_told_once())


@router.delete(
    "/{key_id}",
    operation_id="revoke_key",
    summary="Revoke a key",
    response_model=KeyRead,
    responses=problems("key_not_found", "disk_full"),
    dependencies=[ADMIN_ONLY],
)
def revoke_key(key_id: str, services: ServicesDep) -> Response:
    """It opens nothing more: here at once, in other processes of the service a second later."""
    try:
        key = services.keys.revoke(key_id)
    except KeyNotFound as error:
        raise not_found(key_id, "key") from error
    return _reply(services, key)


def _found(services: Services, key_id: str) -> Key:
    try:
        return services.keys.get(key_id)
    except KeyNotFound as error:
        raise not_found(key_id, "key") from error


def _reply(services: Services, key: Key) -> Response:
    return json_reply(_key_replies(services, [key])[0], headers={"Cache-Control": "no-store"})


def _key_replies(services: Services, keys: list[Key]) -> list[dict[str, Any]]:
    uses = last_uses(services.store.redis, keys)
    return [key_reply(key, uses.get(key.id)) for key in keys]


def _told_once(location: str | None = None) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    return headers if location is None else {**headers, "Location": location}
