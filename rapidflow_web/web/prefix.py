"""The path below which a proxy in front shows the server, as `RAPIDFLOW_PUBLIC_URL` has it.

Inside, no address has the prefix: it is taken off requests, where the proxy has not done that, and put before
every address that is sent, in headers here and in pages by `web.templates`.
"""

from __future__ import annotations

from typing import cast

from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope
from quart import Quart, Response

from rapidflow_web.errors import SettingsError
from rapidflow_web.web.services import EXTENSION, Services


class WithoutPrefix:
    """Gives requests to `app` as if there were no prefix; a proxy may have taken it off already."""

    def __init__(self, app: ASGIFramework, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path == self._prefix or path.startswith(f"{self._prefix}/"):
                scope["path"] = path[len(self._prefix) :] or "/"
        await self._app(scope, receive, send)


def prefix_of(app: Quart) -> str:
    """What comes before the path of every address that `app` sends, such as /rapidflow; often empty."""
    settings = cast(Services, app.extensions[EXTENSION]).settings
    return settings.public_url.path if settings.public_url is not None else ""


def install(app: Quart) -> None:
    """Has `app` live below its prefix. Raises `SettingsError` where that would hide an address of its own."""
    prefix = prefix_of(app)
    if not prefix:
        return
    first = prefix.split("/")[1]
    if any(rule.rule.split("/")[1] == first for rule in app.url_map.iter_rules()):
        raise SettingsError(
            f"RAPIDFLOW_PUBLIC_URL has the path {prefix!r}, and the server itself has pages at /{first}; "
            "use another path, such as /rapidflow"
        )

    async def add(response: Response) -> Response:
        headers = response.headers
        for name in ("Location", "HX-Redirect"):
            if headers.get(name, "").startswith("/"):
                headers[name] = prefix + headers[name]
        if headers.get("Link", "").startswith("</"):
            headers["Link"] = f"<{prefix}{headers['Link'][1:]}"
        return response

    app.after_request(add)
    app.asgi_app = WithoutPrefix(app.asgi_app, prefix)
