"""What every response says to browsers."""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup
from quart import Quart, Response

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


def install(app: Quart) -> None:
    """Adds the headers to every response."""

    async def add(response: Response) -> Response:
        response.headers.extend(HEADERS)
        return response

    app.after_request(add)
