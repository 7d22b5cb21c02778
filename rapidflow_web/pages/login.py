"""Logging in and out."""

from __future__ import annotations

import math

from quart import Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import audit
from rapidflow_web.errors import RequestError, TooManyRequests
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.gate import COOKIE, address, delete_session_cookie, set_session_cookie
from rapidflow_web.web.services import services


@blueprint.get("/login")
async def show_login() -> Response:
    """The form to log in with."""
    then = _inside(request.args.get("next", "/"))
    return await forms.page("login.html", name="", then=then, problem="")


@blueprint.post("/login")
async def log_in() -> Response | WerkzeugResponse:
    """Begins a session, or says why not."""
    form = await forms.fields()
    name, then = form.get("name", "").strip(), _inside(form.get("next", "/"))
    session = request.cookies.get(COOKIE)
    try:
        cookie = await services().access.log_in(name, form.get("password", ""), address(), session)
    except RequestError as error:
        if not isinstance(error, TooManyRequests):
            await audit.note_failed_login(name, address(), error.status)
        page = await forms.page("login.html", error.status, name=name, then=then, problem=str(error))
        if isinstance(error, TooManyRequests):
            page.headers["Retry-After"] = str(math.ceil(error.wait))
        return page
    await audit.note(name, address(), audit.LOG_IN, "/login", 303)
    response = redirect(then, 303)
    set_session_cookie(response, cookie)
    return response


@blueprint.post("/logout")
async def log_out() -> WerkzeugResponse:
    """Ends the session."""
    cookie = request.cookies.get(COOKIE)
    if cookie and await services().access.log_out(cookie):
        await services().streams.review()
    response = redirect("/login", 303)
    delete_session_cookie(response)
    return response


def _inside(path: str) -> str:
    """The path, if it leads to a page of this server; browsers take // and /\\ for another one."""
    is_inside = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_inside else "/"
