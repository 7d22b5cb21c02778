"""The blueprint of the pages, the fragments that they poll, and the state that every page shows."""

from __future__ import annotations

import hashlib
from typing import Any

from quart import Blueprint, Response, current_app, g, has_request_context, request

from rapidflow_web.accounts.roles import Role
from rapidflow_web.db.database import now_ms
from rapidflow_web.web import gate, static_files
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.repositories import server_url
from rapidflow_web.web.security_headers import FIRST_SCRIPT
from rapidflow_web.web.services import services
from rapidflow_web.web.templates import render

blueprint = Blueprint("pages", __name__)


def static(name: str) -> str:
    """The address of a static file."""
    return prefix_of(current_app) + static_files.address(name)


async def fragment(template: str, **values: Any) -> Response:
    """A part of a page that the page asks for again and again; 304 where it is as the browser has it."""
    text = await render(template, **values)
    response = Response(text)
    response.set_etag(hashlib.blake2b(text.encode(), digest_size=16).hexdigest())
    response.headers["Cache-Control"] = "private, no-cache"
    await response.make_conditional(request)
    return response


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
        "origin": server_url() if request else "",
        "posted": bool(request) and request.method == "POST",
        "in_cluster": known and here.executor.nodes is not None,
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
