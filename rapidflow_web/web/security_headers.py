"""What every response says to browsers."""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup
from quart import Quart, Response, request

from rapidflow_web.web import assets

# The one script that is inside the pages: it sees to it that all others arrive, so it can't be what does not.
FIRST_SCRIPT = Markup((assets.folder("static") / "js/whole.js").read_text(encoding="utf-8"))  # noqa: S704
_DIGEST = base64.b64encode(hashlib.sha256(FIRST_SCRIPT.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'self'; script-src 'self' 'sha256-{_DIGEST}'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}
UNCACHED = {**HEADERS, "Cache-Control": "private, no-store"}
"""The headers of all but static files: who may see an answer can change, and a cache would not know."""

_MAY_SAY_MORE = ("Cache-Control", "Cross-Origin-Resource-Policy")


def install(app: Quart) -> None:
    """Adds the headers to every response."""

    async def add(response: Response) -> Response:
        headers = response.headers
        if request.endpoint == "static" and "ETag" in headers:
            headers.extend(HEADERS)
            return response
        # What says more is a part of a page that browsers ask for again and again, by its ETag, or a badge.
        said = {name: headers[name] for name in _MAY_SAY_MORE if name in headers}
        headers.extend(UNCACHED)
        headers.update(said)
        return response

    app.after_request(add)
