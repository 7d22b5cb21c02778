"""The page of whoever looks at it: who they are, their password, sessions and tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from quart import Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.accounts.changes import own_tokens
from rapidflow_web.accounts.credentials import LONGEST_TOKEN_LIFE, token_name
from rapidflow_web.accounts.roles import Role
from rapidflow_web.db import dashboard
from rapidflow_web.db import users as stored
from rapidflow_web.errors import Invalid, Problem, RequestError, TooManyRequests
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.gate import actor, session
from rapidflow_web.web.requests import identifier
from rapidflow_web.web.services import services

MOST_PIPELINES = 1_000
"""Pipelines that are named; beyond them tokens have numbers."""
_DAYS = "90"
_DONE = {
    "password": "Your password is changed, and your other sessions have ended.",
    "sessions": "Your other sessions have ended.",
    "revoked": "The token is revoked.",
}


@dataclass(frozen=True, slots=True)
class _Typed:
    """The form of a new token."""

    name: str
    role: str
    days: str
    pipelines: list[str]


@blueprint.get("/ui/account")
async def show_account() -> Response:
    """Who you are, your sessions and tokens."""
    return await _page(done=_DONE.get(request.args.get("done", "")))


@blueprint.post("/ui/account/password")
async def change_own_password() -> Response | WerkzeugResponse:
    """Changes your password, or says why not."""
    form = await forms.fields()
    try:
        if form.get("new_password") != form.get("again"):
            raise Invalid([Problem("again", "the passwords do not match; type the new one again")])
        await services().accounts.change_own_password(
            actor(), session(), form.get("password", ""), form.get("new_password", "")
        )
    except RequestError as error:
        return await _page(error, password_problem=str(error))
    return redirect("/ui/account?done=password", 303)


@blueprint.post("/ui/account/sessions")
async def end_other_sessions() -> WerkzeugResponse:
    """Ends your other sessions."""
    await services().accounts.end_other_sessions(actor(), session())
    return redirect("/ui/account?done=sessions", 303)


@blueprint.post("/ui/account/tokens")
async def make_token() -> Response:
    """Makes a token and shows it, this once."""
    form = await forms.fields()
    typed = _Typed(
        form.get("name", "").strip(),
        form.get("role", ""),
        form.get("days", "").strip(),
        await forms.chosen("pipelines"),
    )
    try:
        token, secret = await services().accounts.make_token(
            actor(),
            _token_name(typed.name),
            forms.one_of(typed.role, [role.label for role in _roles()], "role"),
            [identifier(number, "pipeline") for number in typed.pipelines] or None,
            forms.whole(typed.days, "days", 1, LONGEST_TOKEN_LIFE) if typed.days else None,
        )
    except RequestError as error:
        return await _page(error, typed=typed, token_problem=str(error))
    return await _page(made=token, secret=secret)


@blueprint.post("/ui/account/tokens/<token_id>/revoke")
async def revoke_own_token(token_id: int) -> WerkzeugResponse:
    """Revokes a token of yours."""
    await services().accounts.revoke_token(actor(), token_id)
    return redirect("/ui/account?done=revoked", 303)


def _token_name(name: str) -> str:
    try:
        return token_name(name)
    except ValueError as error:
        raise Invalid([Problem("name", f"name: {error}")]) from None


def _roles() -> list[Role]:
    """The roles that your tokens may have."""
    return [role for role in Role if role <= actor().role]


async def _page(error: RequestError | None = None, **values: Any) -> Response:
    who = actor()
    user = await stored.get(who.user_id) if who.user_id is not None else None
    known = await dashboard.pipelines(MOST_PIPELINES, 0) if user is not None else []
    typed = _Typed("", min(who.role, Role.BUILDER).label, _DAYS, [])
    page = await forms.page(
        "account.html",
        error.status if error is not None else 200,
        **{
            "user": user,
            "login": services().settings.login,
            "sessions": await stored.sessions(user.id) if user is not None and who.token is None else [],
            "session": session(),
            "tokens": await own_tokens(who),
            "roles": _roles(),
            "pipelines": known,
            "names": {pipeline.id: pipeline.name for pipeline in known},
            "typed": typed,
            **values,
        },
    )
    if isinstance(error, TooManyRequests):
        page.headers["Retry-After"] = str(math.ceil(error.wait))
    return page
