"""What all stand-ins have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from aiohttp import web

TOKEN = "token-of-a-test"
COMMIT = "c" * 40
WHEN = "2026-11-27T10:00:00Z"
_LONGEST_PAGE = 50

Said = tuple[int, Any]
"""The status and the JSON of an answer; None: no body."""
Handler = Callable[[web.Request, Any], Said]
Forge = TypeVar("Forge", bound="StandIn")


@dataclass
class Call:
    """A request that came. `path` is as it was sent, without the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Canned:
    """An answer that is given instead of the usual one. `hold` is awaited first."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    hold: Awaitable[object] | None = None


class StandIn(ABC):
    """A forge with one repository, which has the commits `commits`, and one token, TOKEN.

    `hooks` are the webhooks by their id. `statuses` are what it was told, the newest last. `calls` are all
    requests. What is in `first` is answered first. The token may make webhooks if `may_hook`.
    """

    name: ClassVar[str]
    api: ClassVar[str]
    path = "team/app"

    def __init__(self) -> None:
        self.url = ""
        self.commits = {COMMIT}
        self.hooks: dict[str, dict[str, Any]] = {}
        self.statuses: list[dict[str, Any]] = []
        self.calls: list[Call] = []
        self.first: list[Canned] = []
        self.may_hook = True
        self._ids = 0

    @property
    def clone_url(self) -> str:
        """Where the repository would be cloned from."""
        return f"{self.url}/{self.path}.git"

    @abstractmethod
    def routes(self) -> list[tuple[str, str, Handler]]:
        """Methods, paths below the API, and what answers."""

    def is_authorized(self, request: web.Request) -> bool:
        """Whether the request has the token."""
        return request.headers.get("Authorization") == f"Bearer {TOKEN}"

    def refusal(self) -> Said:
        """What is answered where the token may not make webhooks."""
        return 403, {"message": "403 Forbidden"}

    def check(self, template: str, request: web.Request, body: Any, said: Said | None) -> None:  # noqa: B027
        """Called with each request, and again with its answer."""

    def new_id(self) -> int:
        """An id that no other has."""
        self._ids += 1
        return self._ids

    def hook(self, request: web.Request) -> dict[str, Any]:
        """The webhook whose id is in the path."""
        if (hook := self.hooks.get(request.match_info["id"])) is None:
            raise web.HTTPNotFound
        return hook

    def removed(self, request: web.Request, body: Any) -> Said:
        """Removes it."""
        self.hook(request)
        del self.hooks[request.match_info["id"]]
        return 204, None

    def page(self, request: web.Request, items: list[Any], size: str) -> list[Any]:
        """The page that was asked for."""
        length = min(int(request.query.get(size, "30")), _LONGEST_PAGE)
        start = (int(request.query.get("page", "1")) - 1) * length
        return items[start : start + length]

    def app(self) -> web.Application:
        """The server."""
        app = web.Application()
        for method, path, handler in self.routes():
            app.router.add_route(method, f"{self.api}{path}", self._answering(path, handler))
        app.router.add_route("*", "/{rest:.*}", self._answering("", None))
        return app

    def _answering(
        self, template: str, handler: Handler | None
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            text = await request.text()
            is_json = request.content_type == "application/json"
            body = json.loads(text) if text and is_json else dict(await request.post()) or None
            self.calls.append(Call(request.method, request.rel_url.raw_path, dict(request.headers), body))
            if self.first:
                canned = self.first.pop(0)
                if canned.hold is not None:
                    await canned.hold
                return web.Response(status=canned.status, headers=canned.headers, text=canned.body)
            status, value = self._said(template, handler, request, body)
            return web.Response(status=status) if value is None else web.json_response(value, status=status)

        return answer

    def _said(self, template: str, handler: Handler | None, request: web.Request, body: Any) -> Said:
        if not self.is_authorized(request):
            return 401, {"message": "401 Unauthorized"}
        if handler is None:
            return 404, {"message": "Not Found"}
        try:
            self.check(template, request, body, None)
            said = self.refusal() if "/hooks" in template and not self.may_hook else handler(request, body)
        except web.HTTPNotFound:
            said = 404, {"message": "Not Found"}
        self.check(template, request, body, said)
        return said


@asynccontextmanager
async def running(forge: Forge) -> AsyncIterator[Forge]:
    """Serves the stand-in on loopback."""
    runner = web.AppRunner(forge.app(), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        forge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield forge
    finally:
        await runner.cleanup()
