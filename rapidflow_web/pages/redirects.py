"""Redirects to pages from addresses that have none of their own."""

from __future__ import annotations

from quart import redirect
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.pages.blueprint import blueprint

_ACTIONS = (
    "approve, cancel, change, connect, delete, jobs, password, poll, reject, remove, replay, retry, role, "
    "secret, secrets, visibility"
)
_KINDS = "deliveries, jobs, pipelines, repositories, users"
"""What the forms of one thing's page do, as their addresses end."""


@blueprint.get("/ui", endpoint="ui")
@blueprint.get("/ui/", endpoint="ui_folder")
@blueprint.get("/ui/jobs", endpoint="ui_jobs")
@blueprint.get("/ui/pipelines", endpoint="ui_pipelines")
async def redirect_home() -> WerkzeugResponse:
    """To the dashboard from the folders above the pages, and from the form that adds a pipeline."""
    return redirect("/", 303)


@blueprint.get("/docs")
async def redirect_to_api() -> WerkzeugResponse:
    """To the page that describes the API, from where people look for it."""
    return redirect("/ui/api", 303)


@blueprint.get(f"/ui/<any({_KINDS}):kind>/<number>/<any({_ACTIONS}):_action>")
async def redirect_back(kind: str, number: str, _action: str) -> WerkzeugResponse:
    """To a page from the address of a form on it, where reloading a rejected form leads."""
    return redirect(f"/ui/{kind}/{number}", 303)


@blueprint.get("/ui/secrets/remove")
async def redirect_to_secrets() -> WerkzeugResponse:
    """The same for secrets."""
    return redirect("/ui/secrets", 303)


@blueprint.get("/ui/pipelines/<number>/secrets/remove")
async def redirect_to_pipeline(number: str) -> WerkzeugResponse:
    """The same for secrets of a pipeline."""
    return redirect(f"/ui/pipelines/{number}", 303)


@blueprint.get("/ui/account/<any(password, sessions, tokens):_form>")
async def redirect_to_account(_form: str) -> WerkzeugResponse:
    """The same for your own page."""
    return redirect("/ui/account", 303)
