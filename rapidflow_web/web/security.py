"""What every response says to browsers."""

from __future__ import annotations

from quart import Quart, Response

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
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
