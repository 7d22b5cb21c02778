"""One table: which role each route needs. A route that is not in it stops the server from starting."""

from __future__ import annotations

from collections.abc import Iterator

from quart import Quart

from rapidflow_web.accounts.roles import Role

PUBLIC = None
"""Whoever can reach the server."""
VIEWER, BUILDER, ADMIN = Role.VIEWER, Role.BUILDER, Role.ADMIN

ROLES: dict[tuple[str, str], Role | None] = {
    ("GET", "/health"): PUBLIC,
    ("GET", "/ready"): PUBLIC,
    ("GET", "/static/<path:filename>"): PUBLIC,
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("POST", "/logout"): PUBLIC,
    # Shown on other sites; without those that are restricted.
    ("GET", "/pipelines/<pipeline_id>/badge.svg"): PUBLIC,
    # Whoever knows the secret of the webhook
    ("POST", "/hooks/<key>"): PUBLIC,
    # Reading
    ("GET", "/metrics"): VIEWER,
    ("GET", "/openapi.json"): VIEWER,
    ("GET", "/me"): VIEWER,
    ("GET", "/nodes"): VIEWER,
    ("GET", "/pipelines"): VIEWER,
    ("GET", "/pipelines/<pipeline_id>"): VIEWER,
    ("GET", "/pipelines/<pipeline_id>/jobs"): VIEWER,
    ("GET", "/jobs"): VIEWER,
    ("GET", "/jobs/<job_id>"): VIEWER,
    ("GET", "/jobs/<job_id>/details"): VIEWER,
    ("GET", "/jobs/<job_id>/logs"): VIEWER,
    ("GET", "/jobs/<job_id>/logs/stream"): VIEWER,
    ("GET", "/jobs/<job_id>/services/<name>/logs"): VIEWER,
    ("GET", "/jobs/<job_id>/steps"): VIEWER,
    ("GET", "/jobs/<job_id>/timeline"): VIEWER,
    ("GET", "/jobs/<job_id>/activity"): VIEWER,
    ("GET", "/repositories"): VIEWER,
    ("GET", "/repositories/<repository_id>"): VIEWER,
    ("GET", "/repositories/<repository_id>/events"): VIEWER,
    ("GET", "/pipelines/<pipeline_id>/explain"): VIEWER,
    ("GET", "/steps/<step_id>"): VIEWER,
    ("GET", "/steps/<step_id>/logs"): VIEWER,
    ("GET", "/"): VIEWER,
    ("GET", "/docs"): VIEWER,
    ("GET", "/ui"): VIEWER,
    ("GET", "/ui/"): VIEWER,
    ("GET", "/ui/api"): VIEWER,
    ("GET", "/ui/docs"): VIEWER,
    ("GET", "/ui/docs/<name>"): VIEWER,
    ("GET", "/ui/overview"): VIEWER,
    ("GET", "/ui/nodes"): VIEWER,
    ("GET", "/ui/nodes/list"): VIEWER,
    ("GET", "/ui/builds"): VIEWER,
    ("GET", "/ui/builds/list"): VIEWER,
    ("GET", "/ui/builds/told"): VIEWER,
    ("GET", "/ui/jobs"): VIEWER,
    ("GET", "/ui/jobs/<job_id>"): VIEWER,
    ("GET", "/ui/jobs/<job_id>/state"): VIEWER,
    ("GET", "/ui/jobs/<job_id>/compare"): VIEWER,
    ("GET", "/ui/jobs/<job_id>/log/map"): VIEWER,
    ("GET", "/ui/jobs/<job_id>/log/times"): VIEWER,
    ("GET", "/ui/jobs/<job_id>/log/search"): VIEWER,
    ("GET", "/ui/jobs/<job_id>/log/outline"): VIEWER,
    ("GET", "/ui/pipelines"): VIEWER,
    ("GET", "/ui/pipelines/list"): VIEWER,
    ("GET", "/ui/pipelines/<pipeline_id>/builds"): VIEWER,
    ("GET", "/ui/pipelines/<pipeline_id>"): VIEWER,
    ("GET", "/ui/repositories"): VIEWER,
    ("GET", "/ui/repositories/<repository_id>"): VIEWER,
    ("GET", "/ui/repositories/<repository_id>/branches"): VIEWER,
    ("GET", "/ui/repositories/<repository_id>/events"): VIEWER,
    (
        "GET",
        "/ui/<any(deliveries, jobs, pipelines, repositories, users):kind>/<number>"
        "/<any(approve, cancel, change, connect, delete, favourite, jobs, password, poll, reject, remove, "
        "replay, retry, role, secret, secrets, visibility):_action>",
    ): VIEWER,
    # Their own affairs
    ("POST", "/ui/pipelines/<pipeline_id>/favourite"): VIEWER,
    ("GET", "/tokens"): VIEWER,
    ("POST", "/tokens"): VIEWER,
    ("DELETE", "/tokens/<token_id>"): VIEWER,
    ("PUT", "/me/password"): VIEWER,
    ("GET", "/ui/account"): VIEWER,
    ("GET", "/ui/account/<any(password, sessions, tokens):_form>"): VIEWER,
    ("POST", "/ui/account/password"): VIEWER,
    ("POST", "/ui/account/sessions"): VIEWER,
    ("POST", "/ui/account/tokens"): VIEWER,
    ("POST", "/ui/account/tokens/<token_id>/revoke"): VIEWER,
    # Building
    ("POST", "/pipelines/<pipeline_id>/jobs"): BUILDER,
    ("POST", "/pipelines/<pipeline_id>/uploads"): BUILDER,
    ("POST", "/jobs/<job_id>/cancel"): BUILDER,
    ("POST", "/jobs/<job_id>/retry"): BUILDER,
    ("POST", "/jobs/<job_id>/approve"): BUILDER,
    ("POST", "/jobs/<job_id>/reject"): BUILDER,
    ("POST", "/repositories/<repository_id>/refs"): BUILDER,
    ("POST", "/repositories/<repository_id>/poll"): BUILDER,
    ("POST", "/ui/pipelines/<pipeline_id>/jobs"): BUILDER,
    ("POST", "/ui/jobs/<job_id>/cancel"): BUILDER,
    ("POST", "/ui/jobs/<job_id>/retry"): BUILDER,
    ("POST", "/ui/jobs/<job_id>/approve"): BUILDER,
    ("POST", "/ui/jobs/<job_id>/reject"): BUILDER,
    ("POST", "/ui/repositories/<repository_id>/poll"): BUILDER,
    # Administration
    ("POST", "/pipelines"): ADMIN,
    ("POST", "/repositories"): ADMIN,
    ("PUT", "/repositories/<repository_id>"): ADMIN,
    ("DELETE", "/repositories/<repository_id>"): ADMIN,
    ("POST", "/repositories/<repository_id>/connect"): ADMIN,
    ("POST", "/repositories/<repository_id>/secret"): ADMIN,
    ("GET", "/repositories/<repository_id>/deliveries"): ADMIN,
    ("GET", "/deliveries/<delivery_id>"): ADMIN,
    ("POST", "/deliveries/<delivery_id>/replay"): ADMIN,
    ("PUT", "/pipelines/<pipeline_id>"): ADMIN,
    ("DELETE", "/pipelines/<pipeline_id>"): ADMIN,
    ("GET", "/ui/pipelines/new"): ADMIN,
    ("POST", "/ui/pipelines"): ADMIN,
    ("POST", "/ui/pipelines/check"): ADMIN,
    ("POST", "/ui/pipelines/<pipeline_id>"): ADMIN,
    ("POST", "/ui/pipelines/<pipeline_id>/delete"): ADMIN,
    ("GET", "/pipelines/<pipeline_id>/visibility"): ADMIN,
    ("PUT", "/pipelines/<pipeline_id>/visibility"): ADMIN,
    ("GET", "/users"): ADMIN,
    ("POST", "/users"): ADMIN,
    ("PUT", "/users/<user_id>"): ADMIN,
    ("DELETE", "/users/<user_id>"): ADMIN,
    ("GET", "/audit"): ADMIN,
    ("GET", "/secrets"): ADMIN,
    ("PUT", "/secrets/<name>"): ADMIN,
    ("DELETE", "/secrets/<name>"): ADMIN,
    ("GET", "/pipelines/<pipeline_id>/secrets"): ADMIN,
    ("PUT", "/pipelines/<pipeline_id>/secrets/<name>"): ADMIN,
    ("DELETE", "/pipelines/<pipeline_id>/secrets/<name>"): ADMIN,
    ("POST", "/ui/pipelines/<pipeline_id>/visibility"): ADMIN,
    ("GET", "/ui/repositories/new"): ADMIN,
    ("POST", "/ui/repositories"): ADMIN,
    ("POST", "/ui/repositories/<repository_id>/change"): ADMIN,
    ("POST", "/ui/repositories/<repository_id>/connect"): ADMIN,
    ("POST", "/ui/repositories/<repository_id>/secret"): ADMIN,
    ("POST", "/ui/repositories/<repository_id>/remove"): ADMIN,
    ("GET", "/ui/repositories/<repository_id>/deliveries"): ADMIN,
    ("GET", "/ui/deliveries/<delivery_id>"): ADMIN,
    ("POST", "/ui/deliveries/<delivery_id>/replay"): ADMIN,
    ("GET", "/ui/users"): ADMIN,
    ("POST", "/ui/users"): ADMIN,
    ("GET", "/ui/users/<user_id>"): ADMIN,
    ("POST", "/ui/users/<user_id>/role"): ADMIN,
    ("POST", "/ui/users/<user_id>/password"): ADMIN,
    ("POST", "/ui/users/<user_id>/remove"): ADMIN,
    ("POST", "/ui/users/<user_id>/tokens/<token_id>/revoke"): ADMIN,
    ("GET", "/ui/audit"): ADMIN,
    ("GET", "/ui/secrets"): ADMIN,
    ("POST", "/ui/secrets"): ADMIN,
    ("GET", "/ui/secrets/remove"): ADMIN,
    ("POST", "/ui/secrets/remove"): ADMIN,
    ("POST", "/ui/pipelines/<pipeline_id>/secrets"): ADMIN,
    ("POST", "/ui/pipelines/<pipeline_id>/secrets/missing"): ADMIN,
    ("GET", "/ui/pipelines/<number>/secrets/<any(missing, remove):_form>"): VIEWER,
    ("POST", "/ui/pipelines/<pipeline_id>/secrets/remove"): ADMIN,
    ("POST", "/prune"): ADMIN,
}


def routes(app: Quart) -> Iterator[tuple[str, str]]:
    """Every method and rule that the app answers; HEAD and OPTIONS go with GET and with all."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, rule.rule


def check(app: Quart) -> None:
    """Raises LookupError where a route has no role, or a role no route."""
    found = set(routes(app))
    if odd := sorted(found ^ ROLES.keys()):
        raise LookupError(f"routes and roles differ in {odd}; see web/route_roles.py")


def needed(method: str, rule: str) -> Role | None:
    """The role that a route needs."""
    if method == "OPTIONS":
        return VIEWER
    return ROLES[("GET" if method == "HEAD" else method, rule)]
