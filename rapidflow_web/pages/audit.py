"""The page of the audit log, for administrators."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from quart import Response, request

from rapidflow_web.db import audit, users
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint

_ENTRIES_PER_PAGE = 100


@blueprint.get("/ui/audit")
async def show_audit_log() -> Response:
    """Who did what, newest first."""
    user = request.args.get("user", "").strip()
    before = request.args.get("before", "")
    found = await audit.listed(
        user=user or None,
        before=int(before) if re.fullmatch("[0-9]{1,18}", before) else None,
        limit=_ENTRIES_PER_PAGE + 1,
    )
    entries = found[:_ENTRIES_PER_PAGE]
    return await forms.page(
        "audit.html",
        entries=entries,
        user=user,
        names=[user.name for user in await users.listed()],
        is_first=not before,
        older=urlencode({"user": user, "before": entries[-1].id}) if len(found) > _ENTRIES_PER_PAGE else None,
    )


@blueprint.app_template_filter("action_name")
def action_name(action: str) -> str:
    """The name of a route or command in words: `users.create_user` is "create user"."""
    return action.rpartition(".")[2].replace("_", " ")


@blueprint.app_template_filter("channel")
def channel(action: str) -> str:
    """By what it was done."""
    blueprint_name, dot, _ = action.partition(".")
    if not dot:
        return "command"
    return "page" if blueprint_name == "pages" else "API"


@blueprint.app_template_filter("outcome")
def outcome(status: int) -> str:
    """The status of an answer in a word; commands, which have none, are noted when they are done."""
    if status < 400:
        return "done"
    if status in (401, 403, 429):
        return "refused"
    return "failed" if status >= 500 else "rejected"
