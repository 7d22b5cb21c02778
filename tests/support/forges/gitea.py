"""Gitea and Forgejo."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.support.forges.stand_in import TOKEN, WHEN, Handler, Said, StandIn

_STATES = ("pending", "success", "error", "failure", "warning")


class Gitea(StandIn):
    """A change of a webhook leaves its secret as it was, as with the real one. `secrets` has them by id."""

    name = "gitea"
    api = "/api/v1"
    kinds = ("gitea", "gogs")

    def routes(self) -> list[tuple[str, str, Handler]]:
        at = f"/repos/{self.path}"
        return [
            ("GET", f"{at}/hooks", self._hooks),
            ("POST", f"{at}/hooks", self._made),
            ("GET", f"{at}/hooks/{{id}}", lambda request, body: (200, self._shown(self.hook(request)))),
            ("PATCH", f"{at}/hooks/{{id}}", self._changed),
            ("DELETE", f"{at}/hooks/{{id}}", self.removed),
            ("POST", f"{at}/statuses/{{sha}}", self._set),
            ("GET", f"{at}/commits/{{sha}}/statuses", self._statuses),
        ]

    def is_authorized(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"token {TOKEN}"

    def refusal(self) -> Said:
        scopes = "required=[write:repository], token scope=read:repository"
        return 403, {
            "message": f"token does not have at least one of required scope(s), {scopes}",
            "url": self.url,
        }

    def _hooks(self, request: web.Request, body: Any) -> Said:
        return 200, self.page(request, [self._shown(hook) for hook in self.hooks.values()], "limit")

    def _made(self, request: web.Request, body: Any) -> Said:
        if body["type"] not in self.kinds:
            return 422, {"message": "Invalid hook type", "url": self.url}
        if not body["config"].get("url") or body["config"].get("content_type") not in ("json", "form"):
            return 422, {"message": "Missing config option", "url": self.url}
        hook = {"id": self.new_id(), "events": ["push"], "active": False, **body}
        self.hooks[str(hook["id"])] = hook
        return 201, self._shown(hook)

    def _changed(self, request: web.Request, body: Any) -> Said:
        hook = self.hook(request)
        new = {**body.get("config", {})}
        new.pop("secret", None)
        hook["config"] = {**hook["config"], **new}
        hook |= {"events": body.get("events") or ["push"], "active": body.get("active", hook["active"])}
        return 200, self._shown(hook)

    def _shown(self, hook: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": hook["id"],
            "type": hook["type"],
            "branch_filter": "",
            "config": {key: value for key, value in hook["config"].items() if key != "secret"},
            "events": hook["events"],
            "authorization_header": "",
            "active": hook["active"],
            "updated_at": WHEN,
            "created_at": WHEN,
        }

    def _set(self, request: web.Request, body: Any) -> Said:
        sha = request.match_info["sha"]
        if sha not in self.commits:
            return 404, {"message": "object does not exist", "url": self.url}
        if body["state"] not in _STATES:
            return 422, {"message": "invalid state", "url": self.url}
        self.statuses.append({"id": self.new_id(), "sha": sha, **body})
        return 201, self._shown_status(self.statuses[-1])

    def _statuses(self, request: web.Request, body: Any) -> Said:
        rows = [row for row in reversed(self.statuses) if row["sha"] == request.match_info["sha"]]
        return 200, self.page(request, [self._shown_status(row) for row in rows], "limit")

    def _shown_status(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": row["id"],
            "status": row["state"],
            "target_url": row.get("target_url", ""),
            "description": row.get("description", ""),
            "url": f"{self.url}{self.api}/repos/{self.path}/statuses/{row['sha']}",
            "context": row.get("context", "default"),
            "creator": None,
            "created_at": WHEN,
            "updated_at": WHEN,
        }


class Forgejo(Gitea):
    """The same, with a type of its own."""

    name = "forgejo"
    kinds = ("forgejo", "gitea", "gogs")
