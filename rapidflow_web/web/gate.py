"""The gate: lets each request in, or refuses it."""

from __future__ import annotations

import functools
import logging
import re
from typing import cast
from urllib.parse import urlencode, urlsplit

from quart import Quart, Response, current_app, g, has_request_context, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web import addresses
from rapidflow_web.accounts import credentials
from rapidflow_web.accounts.authentication import SESSION_SECONDS, Access, Reader
from rapidflow_web.accounts.roles import Actor, Role
from rapidflow_web.db import audit, jobs, pipelines, visibility
from rapidflow_web.db.database import is_away
from rapidflow_web.errors import Forbidden, Unauthorized
from rapidflow_web.web import route_roles
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.requests import is_page, read_ids
from rapidflow_web.web.services import services

_log = logging.getLogger(__name__)

COOKIE = "rapidflow_session"
_READING = ("GET", "HEAD", "OPTIONS")
_DEFAULT_PORT = re.compile(r":(80|443)$")
_CHANGES_NOTHING = frozenset({"pages.check_pipeline", "pages.toggle_favourite"})
"""What is asked at every key that is typed, with a body too long for an address; what only a cookie has."""
_TOLD_BY_QUERY = "system.prune"


def install(app: Quart) -> None:
    """Lets nobody in but those who may."""

    async def enter() -> Response | WerkzeugResponse | None:
        access = services().access
        g.actor = None
        _check_host(access)
        _check_site()
        if request.url_rule is None:
            return None  # there is nothing at this address, which is no secret
        needed = route_roles.needed(request.method, request.url_rule.rule)
        if needed is None:
            return None
        try:
            await _authorize(access, needed)
        except Unauthorized:
            if request.method in ("GET", "HEAD") and is_page(request.path):
                return _to_login()
            raise
        g.authorize_again = functools.partial(_authorize, access, needed)
        read_ids()
        await _check_visible(actor())
        return None

    async def leave(response: Response) -> Response:
        who: Actor | None = g.get("actor")
        # What comes too often is nothing new each time.
        if (
            who is not None
            and request.method not in _READING
            and request.endpoint not in _CHANGES_NOTHING
            and response.status_code != 429
        ):
            await _audit(who.audit_name, response.status_code)
        return response

    app.before_request(enter)
    app.after_request(leave)


async def _authorize(access: Access, needed: Role) -> None:
    """Finds out who sends the request, and whether they may. Raises `Unauthorized`, `Forbidden`."""
    who = await _authenticate(access)
    g.actor = who
    if who.role < needed:
        raise Forbidden(_refusal(needed, who), by_role=True)
    visibility.set_current(who.visibility)


def _refusal(needed: Role, actor: Actor) -> str:
    roles = " and ".join(f"{role.label}s" for role in Role if role >= needed)
    action = "open" if request.method in _READING else "do"
    return f"only {roles} can {action} this; your role is {actor.role.label}"


async def _audit(actor: str, status: int) -> None:
    # No other query says what is done, and somebody may have put a password or a secret into it.
    target = request.full_path.rstrip("?") if request.endpoint == _TOLD_BY_QUERY else request.path
    if (concerned := g.get("audit_subject")) is not None:
        target = f"{target} ({concerned})"
    await _note(actor, f"{request.endpoint}", target, status)


async def _note(actor: str, action: str, target: str, status: int) -> None:
    try:
        await audit.note(actor, address(), action, target, status)
    except Exception as error:
        # What was done is done, or refused with its own reason; the answer stays.
        if not is_away(error):
            raise
        _log.warning("not in the audit log (%s): %s, %s, %d", error, actor, target, status)


def actor() -> Actor:
    """Who sends the request, which was let in."""
    return cast(Actor, g.actor)


def client_key() -> str:
    """An identifier of whoever sends the request: the user, or the address where nobody needs to log in."""
    name = actor().name
    return f"user {name}" if name is not None else f"address {address()}"


def reader(pipeline_id: int) -> Reader:
    """Whoever sends the request, as a reader of a long answer about a pipeline."""
    return Reader(actor().credential, pipeline_id)


def session() -> str | None:
    """What is stored of the session that the request shows; None where it shows none."""
    cookie = request.cookies.get(COOKIE)
    return credentials.digest(cookie) if cookie else None


def audit_subject(what: str) -> None:
    """Has the audit log say what the request is about, where its address has only a number."""
    g.audit_subject = what


async def audit_part(action: str, target: str) -> None:
    """Notes a part of the request that is done, as the request that does only this is noted."""
    await _note(actor().audit_name, action, target, 303)


def may(role: Role) -> bool:
    """Whether whoever sends the request has this role, or more."""
    who: Actor | None = g.get("actor") if has_request_context() else None
    return who is not None and who.role >= role


def address() -> str:
    """The address of the client, which a proxy in front knows."""
    peer = request.remote_addr or ""
    # Some proxies add a header of their own below the one that a client made up; each says where its own
    # client is. What a trusted one says is believed, and may be the address of another.
    said = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    while services().access.is_proxy(addresses.plain(peer)) and said:
        peer = said.pop().strip() or peer
    return addresses.plain(peer)


def _check_host(access: Access) -> None:
    # The header as it was sent: the framework takes names that browsers know and it does not for none at all.
    host = request.headers.get("Host")
    # In HTTP/1.0 it may be missing, which the framework makes an empty one. No browser speaks that.
    if host and not access.hosts.knows(host):
        raise Forbidden(
            f"this server does not accept requests for the host '{host[:100]}'; add it to RAPIDFLOW_HOSTS"
        )


def _check_site() -> None:
    # A browser that is on another site can't read answers, but it can send forms.
    if request.method in _READING:
        return
    site, origin = request.headers.get("Sec-Fetch-Site", "none"), request.headers.get("Origin")
    if site not in ("same-origin", "none") or (origin and not _is_here(origin)):
        raise Forbidden("another website sent this request; repeat it on a page of this server")


def _is_here(origin: str) -> bool:
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:
        return False
    public = services().settings.public_url
    if public is not None and origin.lower() == public.origin:
        return True  # a proxy need not pass on the host that the browser asked
    host = request.headers.get("Host", "")
    return _DEFAULT_PORT.sub("", netloc) == _DEFAULT_PORT.sub("", host) != ""


async def _authenticate(access: Access) -> Actor:
    """Who sends the request. Raises `Unauthorized`."""
    headers = request.headers
    return await access.who(
        headers.get("Authorization"),
        headers.getlist(services().settings.proxy_header),
        request.cookies.get(COOKIE),
        request.remote_addr or "",
    )


async def _check_visible(who: Actor) -> None:
    """Raises `NotFound` for what is not to be seen, before any route does something to it."""
    if who.visibility.is_unrestricted:
        return
    ids = request.view_args or {}
    if "job_id" in ids:
        await jobs.existing(ids["job_id"])
    if "pipeline_id" in ids:
        await pipelines.existing(ids["pipeline_id"])


def _to_login() -> Response | WerkzeugResponse:
    if "HX-Request" in request.headers:
        # A part of a page that is open: the whole page is to go to the login, and from there back.
        page = _path_below_prefix(request.headers.get("HX-Current-URL", ""))
        return Response("", 401, {"HX-Redirect": _login_before(page)})
    return redirect(_login_before(request.full_path.rstrip("?")), 303)


def _login_before(page: str) -> str:
    """The address of the login that leads on to `page`, if any."""
    return f"/login?{urlencode({'next': page})}" if page else "/login"


def _path_below_prefix(url: str) -> str:
    """A browser's address of a page without the host and the prefix; empty where `url` is no address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    path = parts.path.removeprefix(prefix_of(current_app))
    return parts._replace(scheme="", netloc="", path=path).geturl()


# Cookies


def set_session_cookie(response: WerkzeugResponse, cookie: str) -> None:
    """Has the browser remember a session."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=is_secure(),
        path=prefix_of(current_app) or "/",
    )


def delete_session_cookie(response: WerkzeugResponse) -> None:
    """Has the browser forget it."""
    path = prefix_of(current_app) or "/"
    response.delete_cookie(COOKIE, httponly=True, samesite="Lax", secure=is_secure(), path=path)


def is_secure() -> bool:
    """Whether the browser speaks TLS, with us or with a proxy."""
    public = services().settings.public_url
    if public is not None and public.scheme == "https":
        return True
    # TLS ends at a proxy. Whoever sends this header without one only keeps a cookie from themselves.
    return request.is_secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
