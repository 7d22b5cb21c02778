"""GitLab."""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from tests.support.forges.stand_in import TOKEN, WHEN, Handler, Said, StandIn

_ACTIVE = ("pending", "running")
_MOVES = {"pending": ("enqueue", ()), "running": ("run", ("pending",))}
_FLAGS = ("push_events", "tag_push_events", "merge_requests_events", "enable_ssl_verification")


class GitLab(StandIn):
    """It knows `signing_token`, as newer servers do, unless it `is_old`. It calls nobody in its network."""

    name = "gitlab"
    api = "/api/v4"
    path = "group/team/app"

    def __init__(self) -> None:
        super().__init__()
        self.is_old = False

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/projects/{project}/hooks", self._hooks),
            ("POST", "/projects/{project}/hooks", self._made),
            (
                "GET",
                "/projects/{project}/hooks/{id}",
                lambda request, body: (200, self._shown(self.hook(request))),
            ),
            ("PUT", "/projects/{project}/hooks/{id}", self._changed),
            ("DELETE", "/projects/{project}/hooks/{id}", self.removed),
            ("POST", "/projects/{project}/statuses/{sha}", self._set),
            ("GET", "/projects/{project}/repository/commits/{sha}/statuses", self._statuses),
        ]

    def is_authorized(self, request: web.Request) -> bool:
        return super().is_authorized(request) or request.headers.get("PRIVATE-TOKEN") == TOKEN

    def refusal(self) -> Said:
        return 403, {
            "error": "insufficient_scope",
            "error_description": "Needs a higher privilege.",
            "scope": "api",
        }

    def check(self, template: str, request: web.Request, body: Any, said: Said | None) -> None:
        if said is None and request.match_info["project"] != self.path:
            raise web.HTTPNotFound

    def _hooks(self, request: web.Request, body: Any) -> Said:
        return 200, self.page(request, [self._shown(hook) for hook in self.hooks.values()], "per_page")

    def _made(self, request: web.Request, body: Any) -> Said:
        if problem := self._problem(body):
            return problem
        hook = {"id": self.new_id(), "push_events": True, **body}
        self.hooks[str(hook["id"])] = hook
        return 201, self._shown(hook)

    def _changed(self, request: web.Request, body: Any) -> Said:
        hook = self.hook(request)
        if problem := self._problem(body):
            return problem
        hook.update(body)
        return 200, self._shown(hook)

    def _problem(self, body: dict[str, Any]) -> Said | None:
        if "://10." in body["url"]:
            return 422, {"error": "Invalid url given"}
        if self.is_old:
            body.pop("signing_token", None)
        if token := body.get("signing_token"):
            form, key = token[:6], base64.b64decode(token[6:], validate=True)
            if form != "whsec_" or len(key) != 32:
                return 422, {"message": {"signing_token": ["must be whsec_ and 32 bytes in base64"]}}
        return None

    def _shown(self, hook: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": hook["id"],
            "url": hook["url"],
            "project_id": 1,
            "created_at": WHEN,
            "alert_status": "executable",
            **{name: bool(hook.get(name)) for name in _FLAGS},
        }

    def _set(self, request: web.Request, body: Any) -> Said:
        sha, state, name = (
            request.match_info["sha"],
            body["state"],
            body.get("name") or body.get("context", "default"),
        )
        if sha not in self.commits:
            return 404, {"message": "404 Commit Not Found"}
        if any(len(text or "") > 255 for text in (name, body.get("description"), body.get("target_url"))):
            return 400, {"message": {"description": ["is too long (maximum is 255 characters)"]}}
        same = [
            row
            for row in self.statuses
            if (row["sha"], row["name"]) == (sha, name) and row["status"] in _ACTIVE
        ]
        if not same:
            same = [{"id": self.new_id(), "sha": sha, "name": name, "status": "created"}]
            self.statuses += same
        row = same[-1]
        event, allowed = _MOVES.get(state, ("", ()))
        if event and row["status"] not in ("created", *allowed):
            reason = f'(Reason(s): Status cannot transition via "{event}")'
            return 400, {"message": f"Cannot transition status via :{event} from :{row['status']} {reason}"}
        row |= {"status": state, "description": body.get("description"), "target_url": body.get("target_url")}
        return 201, self._shown_status(row)

    def _statuses(self, request: web.Request, body: Any) -> Said:
        rows = [self._shown_status(row) for row in self.statuses if row["sha"] == request.match_info["sha"]]
        return 200, self.page(request, rows, "per_page")

    def _shown_status(self, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "ref": "main", "created_at": WHEN, "allow_failure": False, "coverage": None}
