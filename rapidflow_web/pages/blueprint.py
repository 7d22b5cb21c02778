"""What all pages share: the blueprint, the words of templates, the state that every page shows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from markupsafe import Markup, escape
from quart import Blueprint, Response, current_app, g, has_request_context, redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.accounts.roles import Role
from rapidflow_web.builds import reasons
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Step
from rapidflow_web.web import gate
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.security_headers import FIRST_SCRIPT
from rapidflow_web.web.services import services
from rapidflow_web.web.templates import render

blueprint = Blueprint("pages", __name__)

ACTIONS = "cancel, retry, delete, jobs, visibility, role, password, remove, secrets"
"""What the forms of one thing's page do, as their addresses end."""


_SHAPES = {
    "success": '<path d="M3.5 8.5 6.5 11.5 12.5 4.5"/>',
    "failed": '<path d="M4 4l8 8M12 4l-8 8"/>',
    "running": '<path d="M8 2.5a5.5 5.5 0 1 0 5.5 5.5"/>',
    "pending": '<circle cx="8" cy="8" r="5.5"/><path d="M8 5v3.2l2 1.3"/>',
    "cancelled": '<circle cx="8" cy="8" r="5.5"/><path d="M5.5 8h5"/>',
}
_STATUSES = {
    status: Markup(  # noqa: S704
        f'<span class="status {status}"><svg viewBox="0 0 16 16" fill="none" stroke="currentColor" '
        'stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">'
        f"{shape}</svg>{status}</span>"
    )
    for status, shape in _SHAPES.items()
}


_VIA = {"api": "via API", "web": "in the browser", "cli": "from the command line"}


_MAY_DO = {
    "viewer": "reads pipelines, builds and logs; has tokens",
    "builder": "reads, and starts, cancels and retries builds",
    "admin": "does everything: edits pipelines, secrets and users, prunes, reads the audit log",
}


class _Timed(Protocol):
    @property
    def started_at(self) -> int | None: ...
    @property
    def finished_at(self) -> int | None: ...


def static(name: str) -> str:
    """The address of a static file."""
    return prefix_of(current_app) + url_for("static", filename=name)


async def fragment(template: str, **values: Any) -> Response:
    """A part of a page that the page asks for again and again; 304 where it is as the browser has it."""
    text = await render(template, **values)
    response = Response(text)
    response.set_etag(hashlib.blake2b(text.encode(), digest_size=16).hexdigest())
    response.headers["Cache-Control"] = "private, no-cache"
    await response.make_conditional(request)
    return response


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


@blueprint.get(f"/ui/<any(jobs, pipelines, users):kind>/<number>/<any({ACTIONS}):_action>")
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


_CURL_OF_USER = 'curl -H "Authorization: Bearer $RAPIDFLOW_TOKEN"'
"""How commands that people copy begin where they need a token; the shell has it from the variable."""


@blueprint.app_context_processor
def _template_globals() -> dict[str, Any]:
    here = services()
    known = gate.may(Role.VIEWER)
    actor = g.get("actor") if has_request_context() else None
    return {
        "static": static,
        "first_script": FIRST_SCRIPT,
        "now": now_ms(),
        "origin": _origin() if request else "",
        "posted": bool(request) and request.method == "POST",
        "warning": here.executor.warning if known else None,
        "engine_problem": here.health.engine_problem if known else None,
        "disk_problem": here.supervisor.disk_problem if known else None,
        "draining": here.queue.draining and known,
        "actor": actor,
        "curl": _CURL_OF_USER if actor is not None and actor.name is not None else "curl",
        "logs_out": services().settings.login == "users",
        "may_build": gate.may(Role.BUILDER),
        "may_administer": gate.may(Role.ADMIN),
    }


def _origin() -> str:
    """How the browser calls this server, with the path below which it is."""
    if (public := services().settings.public_url) is not None:
        return str(public)
    return f"{'https' if gate.is_secure() else 'http'}://{request.host}"


@blueprint.app_template_global("status")
def status(name: str) -> Markup:
    """A status as a word with its shape; ready made, because pages have it in every row."""
    return _STATUSES[name]


@blueprint.app_template_filter("duration")
def duration(timed: _Timed) -> str:
    """How long something took; a dash while it has not ended."""
    if timed.started_at is None or timed.finished_at is None:
        return "–"
    return milliseconds(timed.finished_at - timed.started_at)


@blueprint.app_template_global("elapsed")
def elapsed(timed: _Timed) -> Markup:
    """How long something took, or how long it goes on, which `page.js` counts."""
    if timed.started_at is None:
        return Markup("–")
    if timed.finished_at is None:
        return Markup(f'<time class="number" data-since="{timed.started_at:d}">running</time>')  # noqa: S704
    return Markup(f'<span class="number">{duration(timed)}</span>')  # noqa: S704


@blueprint.app_template_global("since")
def since(at: int) -> Markup:
    """How long something goes on since a time, which `page.js` counts."""
    return Markup(f'<time class="number" data-since="{at:d}">since {clock(at)}</time>')  # noqa: S704


@blueprint.app_template_global("ago")
def ago(at: int | None) -> Markup:
    """A time, which `page.js` replaces by how long ago that was."""
    if at is None:
        return Markup("–")
    said = clock(at)
    # Numbers only, and pages have many of them: `Markup.format` takes ten times as long.
    return Markup(f'<time data-ago="{at:d}" datetime="{iso(at)}" title="{said}">{said}</time>')  # noqa: S704


@blueprint.app_template_filter("milliseconds")
def milliseconds(count: int | float) -> str:
    """A length of time, as short as it can be said. `page.js` says it in the same way."""
    count = max(0, int(count))
    if count < 10_000:
        return f"{count / 1000:.1f}s"
    seconds = count // 1000
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60:02}m"


@blueprint.app_template_filter("clock")
def clock(at: int) -> str:
    """A time, UTC. `page.js` replaces it by how long ago that was."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


@blueprint.app_template_filter("second")
def second(at: int) -> str:
    """What a clock showed at a time, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S")


@blueprint.app_template_filter("day")
def day(at: int) -> str:
    """The day of a time, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


@blueprint.app_template_global("may_do")
def may_do(role: str) -> str:
    """What somebody with this role does."""
    return _MAY_DO[role]


@blueprint.app_template_filter("iso")
def iso(at: int) -> str:
    """A time as machines read it."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@blueprint.app_template_filter("capitalize_first")
def capitalize_first(text: str) -> str:
    """The text as a sentence begins, the rest as it is."""
    return text[:1].upper() + text[1:]


@blueprint.app_template_filter("via")
def via(started_by: str) -> str:
    """What started a build, as the end of a sentence."""
    return _VIA.get(started_by) or f"by {started_by}"


@blueprint.app_template_filter("failure")
def failure(error: str, steps: Sequence[Step]) -> str:
    """Why a job failed, with the name of the step where it has one. The API and the log name its type."""
    for number, step in enumerate(steps, 1):
        if step.exit_code and error == reasons.exited(number, step.type, step.exit_code):
            return (
                f"step {number}{f' “{step.name}”' if step.name else ''} failed (exit code {step.exit_code})"
            )
    return error


@blueprint.app_template_filter("code")
def code(text: str) -> Markup:
    """The text with what stands between backticks as code."""
    parts = (escape(part) for part in text.split("`"))
    return Markup().join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


_LONGEST_LINE = 200  # characters


@blueprint.app_template_filter("first_line")
def first_line(text: str) -> str:
    """The first line of a script."""
    return text.strip().partition("\n")[0][:_LONGEST_LINE]
