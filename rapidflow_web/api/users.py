"""Routes of users, tokens, visibility and the audit log."""

from __future__ import annotations

from quart import Blueprint, Response

from rapidflow_web.access.access import hashed, new_token
from rapidflow_web.access.roles import Role, role
from rapidflow_web.api import render
from rapidflow_web.api import user_schemas as schemas
from rapidflow_web.api.lists import list_response
from rapidflow_web.api.operation import operation
from rapidflow_web.api.pipelines import existing_pipeline
from rapidflow_web.api.schemas import Message, Page
from rapidflow_web.db import audit, pipelines, users
from rapidflow_web.db.models import User
from rapidflow_web.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, Problem
from rapidflow_web.web import requests
from rapidflow_web.web.access import actor
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("users", __name__)

_LAST = "this is the last administrator; make somebody else one first"


@blueprint.get("/me")
@operation(schemas.Me)
async def get_me() -> Response:
    """Tell who you are and what you may do."""
    who = actor()
    return json_response({"name": who.name, "role": who.role.word, "token": who.token})


@blueprint.get("/users")
@operation(schemas.Users)
async def list_users() -> Response:
    """List the users by name."""
    return json_response([render.user(user) for user in await users.listed()])


@blueprint.post("/users")
@operation(schemas.User, status=201, body=schemas.NewUser, conflict=True)
async def create_user() -> Response:
    """Add a user. Without a password only a proxy in front can log them in."""
    wanted = await requests.body(schemas.NewUser)
    if not await users.any_exist() and (wanted.role != "admin" or wanted.password is None):
        raise BadRequest("the first user must be an admin with a password, or nobody could log in any more")
    password = await _hashed(wanted.password) if wanted.password is not None else None
    user = await users.create(wanted.name, wanted.role, password)
    if user is None:
        raise Conflict(f"there is a user {wanted.name} already; choose another name, or change that one")
    services().access.forget()
    return json_response(render.user(user), 201, {"Location": f"/users/{user.id}"})


@blueprint.put("/users/<user_id>")
@operation(schemas.User, body=schemas.ChangedUser)
async def update_user(user_id: int) -> Response:
    """Give a user another role or password. What is left out stays; a new password ends their sessions."""
    await _existing(user_id)
    wanted = await requests.body(schemas.ChangedUser)
    changes: dict[str, str] = {}
    if wanted.role is not None:
        changes["role"] = wanted.role
    if wanted.password is not None:
        changes["password"] = await _hashed(wanted.password)
    if changes and not await users.change(user_id, **changes):
        raise BadRequest(_LAST)
    _changed()
    return json_response(render.user(await _existing(user_id)))


@blueprint.delete("/users/<user_id>")
@operation(Message)
async def delete_user(user_id: int) -> Response:
    """Remove a user with their sessions and tokens."""
    await _existing(user_id)
    if not await users.remove(user_id):
        raise BadRequest(_LAST)
    _changed()
    return json_response({"message": "user removed successfully"})


@blueprint.get("/tokens")
@operation(schemas.Tokens)
async def list_tokens() -> Response:
    """List your tokens; an administrator's list has everybody's."""
    who = actor()
    mine = None if who.role is Role.ADMIN else who.user_id
    found = await users.tokens(mine)
    return json_response([render.token(token) for token in found])


@blueprint.post("/tokens")
@operation(schemas.CreatedToken, status=201, body=schemas.NewToken)
async def create_token() -> Response:
    """Make a token for yourself. The answer is the only place where it is ever shown."""
    who = actor()
    user = await users.get(who.user_id) if who.user_id is not None else None
    if user is None:
        raise BadRequest("a token belongs to a user; add one with 'rapidflow user add', and log in")
    if who.token is not None:
        raise Forbidden("a token can't make tokens; log in with your password")
    wanted = await requests.body(schemas.NewToken)
    may = role(wanted.role) if wanted.role is not None else who.role
    if may > who.role:
        raise Forbidden(f"your role is {who.role.word}; a token can't have more")
    for number in wanted.pipelines or ():
        if await pipelines.get(number) is None:
            raise Invalid([Problem("pipelines", f"there is no pipeline {number}")])
    token, word = await new_token(user, wanted.name, may, wanted.pipelines, wanted.expires_in_days)
    token.user = user
    return json_response({**render.token(token), "secret": word}, 201, {"Location": f"/tokens/{token.id}"})


@blueprint.delete("/tokens/<token_id>")
@operation(Message)
async def revoke_token(token_id: int) -> Response:
    """Revoke a token of yours; an administrator revokes anybody's."""
    who = actor()
    mine = None if who.role is Role.ADMIN else who.user_id
    if not await users.revoke(token_id, mine):
        raise NotFound(f"there is no token {token_id}")
    _changed()
    return json_response({"message": "token revoked successfully"})


@blueprint.get("/pipelines/<pipeline_id>/visibility")
@operation(schemas.Visibility)
async def get_visibility(pipeline_id: int) -> Response:
    """Get who may see a pipeline."""
    return await _visibility(pipeline_id)


@blueprint.put("/pipelines/<pipeline_id>/visibility")
@operation(schemas.Visibility, body=schemas.Visibility)
async def update_visibility(pipeline_id: int) -> Response:
    """Restrict a pipeline, with its builds, to administrators and the users named, or show it to all."""
    await existing_pipeline(pipeline_id)
    wanted = await requests.body(schemas.Visibility)
    unknown = await users.set_visibility(pipeline_id, wanted.restricted, wanted.users)
    if unknown is not None:
        raise Invalid([Problem("users", f"there is no user {unknown}")])
    _changed()
    return await _visibility(pipeline_id)


@blueprint.get("/audit")
@operation(schemas.Deeds, query=Page, listed=True)
async def list_deeds(page: Page) -> Response:
    """List who did what, newest first."""
    found = await audit.listed(before=page.before, limit=page.limit + 1)
    return list_response(found, page, render.deed)


def _changed() -> None:
    """Has everyone shown anew who they are, those who follow a log, too: they go on where they were."""
    services().access.forget()
    services().streams.cut()


async def _hashed(password: str) -> str:
    try:
        return await hashed(password)
    except ValueError as error:
        raise Invalid([Problem("password", f"password: {error}")]) from None


async def _existing(user_id: int) -> User:
    user = await users.get(user_id)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    return user


async def _visibility(pipeline_id: int) -> Response:
    await existing_pipeline(pipeline_id)
    restricted, names = await users.visibility(pipeline_id)
    return json_response({"restricted": restricted, "users": names})
