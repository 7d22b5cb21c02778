"""Routes of users, tokens, visibility and the audit log."""

from __future__ import annotations

from quart import Blueprint, Response

from rapidflow_web.accounts import changes
from rapidflow_web.accounts.roles import Role
from rapidflow_web.api import representations
from rapidflow_web.api import user_schemas as schemas
from rapidflow_web.api.lists import list_response
from rapidflow_web.api.openapi import operation
from rapidflow_web.api.schemas import Message, Visibility
from rapidflow_web.db import audit, pipelines, users
from rapidflow_web.web import requests
from rapidflow_web.web.gate import actor, session
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("users", __name__)


@blueprint.get("/me")
@operation(schemas.Me)
async def get_me() -> Response:
    """Get your name and role."""
    who = actor()
    return json_response({"name": who.name, "role": who.role.label, "token": who.token})


@blueprint.put("/me/password")
@operation(Message, body=schemas.NewPassword, throttled=True)
async def update_own_password() -> Response:
    """Change your password. Ends all your other sessions."""
    await changes.own(actor())
    wanted = await requests.body(schemas.NewPassword)
    await services().accounts.change_own_password(actor(), session(), wanted.password, wanted.new_password)
    return json_response({"message": "password changed successfully"})


@blueprint.get("/users")
@operation(schemas.Users)
async def list_users() -> Response:
    """List the users, sorted by name."""
    return json_response([representations.user(user) for user in await users.listed()])


@blueprint.post("/users")
@operation(schemas.User, status=201, body=schemas.NewUser, conflict=True)
async def create_user() -> Response:
    """Add a user. Without a password, only a reverse proxy can log them in."""
    wanted = await requests.body(schemas.NewUser)
    user = await services().accounts.add(wanted.name, wanted.role, wanted.password)
    return json_response(representations.user(user), 201, {"Location": f"/users/{user.id}"})


@blueprint.put("/users/<user_id>")
@operation(schemas.User, body=schemas.ChangedUser)
async def update_user(user_id: int) -> Response:
    """Change the role or password of a user. A new password ends their sessions."""
    await changes.existing(user_id)
    wanted = await requests.body(schemas.ChangedUser)
    user = await services().accounts.change(user_id, role=wanted.role, password=wanted.password)
    return json_response(representations.user(user))


@blueprint.delete("/users/<user_id>")
@operation(Message)
async def delete_user(user_id: int) -> Response:
    """Remove a user with all their sessions and tokens."""
    await services().accounts.remove(user_id)
    return json_response({"message": "user removed successfully"})


@blueprint.get("/tokens")
@operation(schemas.Tokens)
async def list_tokens() -> Response:
    """List your tokens; administrators see all tokens.

    A token with a lower role than yours, or for some pipelines only, is told of itself alone.
    """
    is_admin = actor().role is Role.ADMIN
    found = await users.tokens() if is_admin else await changes.own_tokens(actor())
    return json_response([representations.token(token) for token in found])


@blueprint.post("/tokens")
@operation(schemas.CreatedToken, status=201, body=schemas.NewToken)
async def create_token() -> Response:
    """Create a token for yourself. Only this response shows it."""
    await changes.own(actor())
    wanted = await requests.body(schemas.NewToken)
    token, secret = await services().accounts.make_token(
        actor(), wanted.name, wanted.role, wanted.pipelines, wanted.expires_in_days
    )
    return json_response(
        {**representations.token(token), "secret": secret}, 201, {"Location": f"/tokens/{token.id}"}
    )


@blueprint.delete("/tokens/<token_id>")
@operation(Message)
async def revoke_token(token_id: int) -> Response:
    """Revoke one of your tokens; administrators can revoke any token.

    A token with a lower role than yours, or for some pipelines only, can revoke itself alone.
    """
    await services().accounts.revoke_token(actor(), token_id)
    return json_response({"message": "token revoked successfully"})


@blueprint.get("/pipelines/<pipeline_id>/visibility")
@operation(Visibility)
async def get_visibility(pipeline_id: int) -> Response:
    """Get the visibility of a pipeline."""
    return await _visibility(pipeline_id)


@blueprint.put("/pipelines/<pipeline_id>/visibility")
@operation(Visibility, body=Visibility)
async def update_visibility(pipeline_id: int) -> Response:
    """Restrict a pipeline and its builds to administrators and the named users, or show it to everyone."""
    await pipelines.existing(pipeline_id)
    wanted = await requests.body(Visibility)
    await services().accounts.set_visibility(pipeline_id, wanted.restricted, wanted.users)
    return await _visibility(pipeline_id)


@blueprint.get("/audit")
@operation(schemas.AuditEntries, query=schemas.AuditPage, listed=True)
async def list_audit_entries(page: schemas.AuditPage) -> Response:
    """List the audit entries, newest first."""
    found = await audit.listed(user=page.user, before=page.before, limit=page.limit + 1)
    return list_response(found, page, representations.audit_entry)


async def _visibility(pipeline_id: int) -> Response:
    await pipelines.existing(pipeline_id)
    restricted, names = await users.visibility(pipeline_id)
    return json_response({"restricted": restricted, "users": names})
