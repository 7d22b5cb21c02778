"""What every response says to browsers."""

from __future__ import annotations

from urllib.parse import urlsplit

from quart import Quart, Response, request

from rapidflow_web.errors import Forbidden

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def install(app: Quart) -> None:
    """Adds the headers to every response; refuses what another site makes a browser send."""

    async def refuse() -> None:
        # A browser that is on another site can't read answers, but it can send forms.
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        site, origin = request.headers.get("Sec-Fetch-Site", "none"), request.headers.get("Origin")
        if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != request.host):
            raise Forbidden("this was sent by another website; open the page of this server and do it there")

    app.before_request(refuse)

    async def add(response: Response) -> Response:
        response.headers.extend(HEADERS)
        return response

    app.after_request(add)
