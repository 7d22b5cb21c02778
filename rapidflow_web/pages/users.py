"""Pages of users, for administrators."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from quart import Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.accounts.changes import existing
from rapidflow_web.accounts.credentials import check_name
from rapidflow_web.accounts.roles import ROLE_NAMES, Role
from rapidflow_web.db import audit, dashboard
from rapidflow_web.db import users as stored
from rapidflow_web.errors import Invalid, Problem, RequestError
from rapidflow_web.pages import forms
from rapidflow_web.pages.account import MOST_PIPELINES
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.gate import actor
from rapidflow_web.web.services import services

_DONE = {
    "added": "The user is added.",
    "role": "The role is changed.",
    "password": "The password is set, and the user's sessions have ended.",
    "removed": "The user is removed.",
    "revoked": "The token is revoked.",
}


@blueprint.get("/ui/users")
async def show_users() -> Response:
    """The users, and the form to add one."""
    return await _list(done=_DONE.get(request.args.get("done", "")))


@blueprint.post("/ui/users")
async def add_user() -> Response | WerkzeugResponse:
    """Adds a user, or says why not."""
    form = await forms.fields()
    typed = {"name": form.get("name", "").strip(), "role": form.get("role", Role.ADMIN.label)}
    is_first = not await stored.any_exist()
    try:
        try:
            check_name(typed["name"])
        except ValueError as error:
            raise Invalid([Problem("name", str(error))]) from None
        # Without one only a proxy can log them in.
        password = form.get("password") or None
        if password is None and services().settings.login != "proxy":
            raise Invalid([Problem("password", "password: give the user one to log in with")])
        await services().accounts.add(
            typed["name"], forms.one_of(typed["role"], ROLE_NAMES, "role"), password
        )
    except RequestError as error:
        return await _list(error.status, typed=typed, problem=str(error))
    # From the first on everybody logs in.
    return redirect("/login?next=/ui/users" if is_first else "/ui/users?done=added", 303)


@blueprint.get("/ui/users/<user_id>")
async def show_user(user_id: int) -> Response:
    """A user with tokens, and what can be changed."""
    return await _one(user_id, done=_DONE.get(request.args.get("done", "")))


@blueprint.post("/ui/users/<user_id>/role")
async def change_role(user_id: int) -> Response | WerkzeugResponse:
    """Gives a user another role, or says why not."""
    try:
        role = forms.one_of((await forms.fields()).get("role", ""), ROLE_NAMES, "role")
        await services().accounts.change(user_id, role=role)
    except RequestError as error:
        return await _one(user_id, error.status, role_problem=str(error))
    return redirect(f"/ui/users/{user_id}?done=role", 303)


@blueprint.post("/ui/users/<user_id>/password")
async def set_password(user_id: int) -> Response | WerkzeugResponse:
    """Gives a user another password, or says why not."""
    try:
        await services().accounts.change(user_id, password=(await forms.fields()).get("password", ""))
    except RequestError as error:
        return await _one(user_id, error.status, password_problem=str(error))
    return redirect(f"/ui/users/{user_id}?done=password", 303)


@blueprint.post("/ui/users/<user_id>/remove")
async def remove_user(user_id: int) -> Response | WerkzeugResponse:
    """Removes a user, or says why not."""
    try:
        await services().accounts.remove(user_id)
    except RequestError as error:
        return await _one(user_id, error.status, remove_problem=str(error))
    return redirect("/ui/users?done=removed", 303)


@blueprint.post("/ui/users/<user_id>/tokens/<token_id>/revoke")
async def revoke_token(user_id: int, token_id: int) -> WerkzeugResponse:
    """Revokes a token of a user."""
    await services().accounts.revoke_token(actor(), token_id)
    return redirect(f"/ui/users/{user_id}?done=revoked", 303)


async def _list(status: int = 200, **values: Any) -> Response:
    tokens = Counter(token.user_id for token in await stored.tokens())
    return await forms.page(
        "users.html",
        status,
        **{
            "users": await stored.listed(),
            "logins": await audit.logins(),
            "tokens": tokens,
            "roles": ROLE_NAMES,
            "login": services().settings.login,
            "data": shlex.quote(str(services().settings.data)),
            "typed": {"name": "", "role": Role.VIEWER.label},
            **values,
        },
    )


async def _one(user_id: int, status: int = 200, **values: Any) -> Response:
    user = await existing(user_id)
    return await forms.page(
        "user.html",
        status,
        user=user,
        last_login=(await audit.logins()).get(user.name),
        tokens=await stored.tokens(user.id),
        names={pipeline.id: pipeline.name for pipeline in await dashboard.pipelines(MOST_PIPELINES, 0)},
        roles=ROLE_NAMES,
        is_only=len(await stored.listed()) == 1,
        **values,
    )
