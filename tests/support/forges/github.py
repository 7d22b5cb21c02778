"""GitHub. What it is asked and what it answers is checked against GitHub's own OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
from aiohttp import web

from tests.support.forges.stand_in import TOKEN, WHEN, Handler, Said, StandIn
from tests.support.payloads import FOLDER

DOCS = "https://docs.github.com/rest"
_DOCUMENT = json.loads((FOLDER / "github-api.json").read_text())
_HOOKS, _HOOK = "/repos/{owner}/{repo}/hooks", "/repos/{owner}/{repo}/hooks/{hook_id}"
_STATUSES, _OF_COMMIT = "/repos/{owner}/{repo}/statuses/{sha}", "/repos/{owner}/{repo}/commits/{ref}/statuses"


class GitHub(StandIn):
    """`violations` says what was asked or answered otherwise than the document allows."""

    name = "github"
    api = "/api/v3"

    def __init__(self) -> None:
        super().__init__()
        self.violations: list[str] = []

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", _HOOKS, self._hooks),
            ("POST", _HOOKS, self._made),
            (
                "GET",
                _HOOK.replace("hook_id", "id"),
                lambda request, body: (200, self._shown(self.hook(request))),
            ),
            ("PATCH", _HOOK.replace("hook_id", "id"), self._changed),
            ("DELETE", _HOOK.replace("hook_id", "id"), self.removed),
            ("POST", _STATUSES, self._set),
            ("GET", _OF_COMMIT, self._statuses),
            # An old name of the same, which PyGithub uses.
            ("GET", _STATUSES, self._statuses),
        ]

    def is_authorized(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") in (f"Bearer {TOKEN}", f"token {TOKEN}")

    def refusal(self) -> Said:
        return 403, {"message": "Resource not accessible by personal access token", "documentation_url": DOCS}

    def check(self, template: str, request: web.Request, body: Any, said: Said | None) -> None:
        described = _OF_COMMIT if (request.method, template) == ("GET", _STATUSES) else template
        operation = _DOCUMENT["paths"][described.replace("{id}", "{hook_id}")][request.method.lower()]
        where = f"{request.method} {template}"
        if said is None:
            if "{owner}/{repo}".format_map(request.match_info) != self.path:
                raise web.HTTPNotFound
            known = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
            self.violations += [
                f"{where} has no parameter '{name}'" for name in request.query if name not in known
            ]
            if "requestBody" in operation:
                self._compare(where, operation["requestBody"]["content"]["application/json"]["schema"], body)
            elif body is not None:
                self.violations.append(f"{where} takes no body")
        elif (answer := operation["responses"].get(str(said[0]))) and "content" in answer:
            self._compare(f"{where}: {said[0]}", answer["content"]["application/json"]["schema"], said[1])
        elif said[0] < 300 and (answer is None or said[1] is not None):
            self.violations.append(f"{where} does not answer {said[0]}")

    def _compare(self, where: str, schema: Any, value: Any) -> None:
        for error in jsonschema_rs.iter_errors(_as_json_schema(schema), value):
            self.violations.append(f"{where}: {error.message} at {error.instance_path}")
        if isinstance(value, dict):
            # The document allows fields that it does not know.
            self.violations += [
                f"{where} has no field '{key}'" for key in value if key not in schema["properties"]
            ]

    def _hooks(self, request: web.Request, body: Any) -> Said:
        return 200, self.page(request, [self._shown(hook) for hook in self.hooks.values()], "per_page")

    def _made(self, request: web.Request, body: Any) -> Said:
        if any(hook["config"]["url"] == body["config"]["url"] for hook in self.hooks.values()):
            problem = {
                "resource": "Hook",
                "code": "custom",
                "message": "Hook already exists on this repository",
            }
            return 422, {"message": "Validation Failed", "errors": [problem], "documentation_url": DOCS}
        hook = {"id": self.new_id(), "events": ["push"], "active": True, **body}
        self.hooks[str(hook["id"])] = hook
        return 201, self._shown(hook)

    def _changed(self, request: web.Request, body: Any) -> Said:
        hook = self.hook(request)
        hook.update(body)
        return 200, self._shown(hook)

    def _shown(self, hook: dict[str, Any]) -> dict[str, Any]:
        at = f"{self.url}{self.api}/repos/{self.path}/hooks/{hook['id']}"
        return {
            "type": "Repository",
            "id": hook["id"],
            "name": "web",
            "active": hook["active"],
            "events": hook["events"],
            "config": {**hook["config"], **({"secret": "********"} if "secret" in hook["config"] else {})},
            "updated_at": WHEN,
            "created_at": WHEN,
            "url": at,
            "test_url": f"{at}/test",
            "ping_url": f"{at}/pings",
            "deliveries_url": f"{at}/deliveries",
            "last_response": {"code": None, "status": "unused", "message": None},
        }

    def _set(self, request: web.Request, body: Any) -> Said:
        problems = [
            f"{name} is too long (maximum is {most} characters)"
            for name, most in (("description", 140), ("context", 255))
            if len(body.get(name) or "") > most
        ]
        sha = request.match_info["sha"]
        if sha not in self.commits:
            problems.append(f"No commit found for SHA: {sha}")
        if problems:
            return 422, {"message": problems[0], "documentation_url": DOCS}
        self.statuses.append({"sha": sha, **body})
        return 201, self._shown_status(self.statuses[-1])

    def _statuses(self, request: web.Request, body: Any) -> Said:
        of_commit = [
            status
            for status in reversed(self.statuses)
            if status["sha"] == request.match_info.get("ref", request.match_info.get("sha"))
        ]
        return 200, self.page(request, [self._shown_status(status) for status in of_commit], "per_page")

    def _shown_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {
            "url": f"{self.url}{self.api}/repos/{self.path}/statuses/{status['sha']}",
            "avatar_url": None,
            "id": self.new_id(),
            "node_id": "x",
            "state": status["state"],
            "description": status.get("description"),
            "target_url": status.get("target_url"),
            "context": status.get("context", "default"),
            "created_at": WHEN,
            "updated_at": WHEN,
            "creator": None,
        }


def _as_json_schema(schema: Any) -> Any:
    """A schema of OpenAPI 3.0, which says `nullable` for a type that may be null."""
    if isinstance(schema, list):
        return [_as_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _as_json_schema(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain
