"""Redirects to pages from addresses that have none of their own."""

from __future__ import annotations

from quart import redirect
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.pages.blueprint import blueprint

_ACTIONS = (
    "approve, cancel, change, connect, delete, favourite, jobs, password, poll, reject, remove, replay, "
    "retry, role, secret, secrets, visibility"
)
_KINDS = "deliveries, jobs, pipelines, repositories, users"
"""What the forms of one thing's page do, as their addresses end."""


@blueprint.get("/ui", endpoint="ui")
@blueprint.get("/ui/", endpoint="ui_folder")
async def redirect_home() -> WerkzeugResponse:
    """To the dashboard from the folder above the pages."""
    return redirect("/", 303)


@blueprint.get("/ui/jobs")
async def redirect_to_builds() -> WerkzeugResponse:
    """To all builds from the folder above the pages of builds."""
    return redirect("/ui/builds", 303)


@blueprint.get("/docs")
async def redirect_to_documents() -> WerkzeugResponse:
    """To the documentation, from where people look for it."""
    return redirect("/ui/docs", 303)


@blueprint.get(f"/ui/<any({_KINDS}):kind>/<number>/<any({_ACTIONS}):_action>")
async def redirect_back(kind: str, number: str, _action: str) -> WerkzeugResponse:
    """To a page from the address of a form on it, where reloading a rejected form leads."""
    return redirect(f"/ui/{kind}/{number}", 303)


@blueprint.get("/ui/secrets/remove")
async def redirect_to_secrets() -> WerkzeugResponse:
    """The same for secrets."""
    return redirect("/ui/secrets", 303)


@blueprint.get("/ui/pipelines/<number>/secrets/<any(missing, remove):_form>")
async def redirect_to_pipeline(number: str, _form: str) -> WerkzeugResponse:
    """The same for secrets of a pipeline."""
    return redirect(f"/ui/pipelines/{number}", 303)


@blueprint.get("/ui/account/<any(password, sessions, tokens):_form>")
async def redirect_to_account(_form: str) -> WerkzeugResponse:
    """The same for your own page."""
    return redirect("/ui/account", 303)
