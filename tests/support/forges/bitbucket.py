"""Bitbucket Cloud. No client of it is among the dependencies: this is what its documentation says."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.support.forges.stand_in import WHEN, Handler, Said, StandIn

_STATES = ("SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED")


class Bitbucket(StandIn):
    """A status replaces the one of the same commit and key."""

    name = "bitbucket"
    api = "/2.0"

    def routes(self) -> list[tuple[str, str, Handler]]:
        at = f"/repositories/{self.path}"
        return [
            ("GET", f"{at}/hooks", self._hooks),
            ("POST", f"{at}/hooks", self._made),
            ("PUT", f"{at}/hooks/{{id:.+}}", self._changed),
            ("DELETE", f"{at}/hooks/{{id:.+}}", self.removed),
            ("POST", f"{at}/commit/{{sha}}/statuses/build", self._set),
        ]

    def refusal(self) -> Said:
        detail = {"required": ["webhook"], "granted": ["repository"]}
        message = "Your credentials lack one or more required privilege scopes."
        return 403, {"type": "error", "error": {"message": message, "detail": detail}}

    def _hooks(self, request: web.Request, body: Any) -> Said:
        shown = [self._shown(hook) for hook in self.hooks.values()]
        page = self.page(request, shown, "pagelen")
        number = int(request.query.get("page", "1"))
        if not page and number > 1:
            return 404, {"type": "error", "error": {"message": "Invalid page"}}
        more = shown and page[-1] is not shown[-1]
        following = {"next": str(request.url.update_query(page=str(number + 1)))} if more else {}
        return 200, {"values": page, "page": number, "pagelen": 50, "size": len(shown), **following}

    def _made(self, request: web.Request, body: Any) -> Said:
        if not str(body.get("url", "")).startswith(("http://", "https://")) or not body.get("events"):
            return 400, {
                "type": "error",
                "error": {"message": "Bad request", "fields": {"url": ["Enter a valid URL."]}},
            }
        hook = {"uuid": f"{{{self.new_id():08x}}}", **body}
        self.hooks[hook["uuid"]] = hook
        return 201, self._shown(hook)

    def _changed(self, request: web.Request, body: Any) -> Said:
        hook = self.hook(request)
        hook.update(body)
        return 200, self._shown(hook)

    def _shown(self, hook: dict[str, Any]) -> dict[str, Any]:
        shown = {key: value for key, value in hook.items() if key != "secret"}
        return {
            **shown,
            "type": "webhook_subscription",
            "secret_set": bool(hook.get("secret")),
            "created_at": WHEN,
        }

    def _set(self, request: web.Request, body: Any) -> Said:
        sha = request.match_info["sha"]
        if sha not in self.commits:
            return 404, {"type": "error", "error": {"message": f"Commit not found: {sha}"}}
        if len(body["key"]) > 40 or body["state"] not in _STATES or not body["url"].startswith("http"):
            fields = {"key": ["Ensure this value has at most 40 characters"]}
            return 400, {"type": "error", "error": {"message": "Bad request", "fields": fields}}
        same = [row for row in self.statuses if (row["sha"], row["key"]) == (sha, body["key"])]
        for row in same:
            self.statuses.remove(row)
        self.statuses.append({"sha": sha, **body})
        return 200 if same else 201, {**body, "type": "build", "created_on": WHEN, "updated_on": WHEN}
