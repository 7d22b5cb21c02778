"""Errors as people and programs see them: one sentence, the right status, in the form that they read."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from quart import Quart, Response, has_request_context, request
from tortoise.exceptions import IntegrityError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from rapidflow_web.db.database import is_away
from rapidflow_web.errors import (
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    RangeNotSatisfiable,
    RequestError,
    TooManyRequests,
    Unauthorized,
)
from rapidflow_web.logs.compressed import Damaged
from rapidflow_web.pipeline.suggestions import printable
from rapidflow_web.web.body import PacedConnection, PatientBody, PatientRequest
from rapidflow_web.web.requests import is_page
from rapidflow_web.web.responses import json_response, text_response
from rapidflow_web.web.templates import render

_log = logging.getLogger(__name__)

_SENTENCES = {
    400: "the request can't be understood",
    404: "there is nothing at this address",
    405: "this address does not take this method",
    408: "the request took too long to arrive",
    413: "the request body is too large",
    415: "the request body is of a kind that is not taken here",
    429: "too many requests; try again later",
    500: "the server failed; its log says why",
}

_CHANGED = "what this request is about was changed or removed at the same moment; look at it and try again"
"""Said where two transactions of PostgreSQL did not see each other."""

# By address, because a wrong method or a body that is too large is found before any route is.
_STREAM = re.compile(r"/jobs/[^/]+/(logs/stream|services/[^/]+/logs)")


def install(app: Quart, most_of_delivery: int, most_of_upload: int) -> None:
    """Maps every error that can reach a client. A delivery and an upload may have so many bytes."""

    async def request_error(error: RequestError) -> Response:
        headers: dict[str, str] = {}
        if isinstance(error, RangeNotSatisfiable):
            headers["Content-Range"] = f"bytes */{error.length}"
        if isinstance(error, Unauthorized):
            headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, TooManyRequests):
            headers["Retry-After"] = str(math.ceil(error.wait))
        details = [_detail(problem) for problem in error.problems] if isinstance(error, Invalid) else None
        on_page = error.on_page if isinstance(error, NotFound) else None
        by_role = isinstance(error, Forbidden) and error.by_role
        return await _respond(str(error), error.status, headers, details, on_page, by_role=by_role)

    async def http_exception(error: HTTPException) -> Response:
        status = error.code or 500
        headers: dict[str, str] = {}
        sentence = _SENTENCES.get(status, (error.description or error.name).splitlines()[0])
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            headers["Allow"] = ", ".join(sorted(error.valid_methods))
            sentence += f"; use {headers['Allow']}"
        if status == 413:
            sentence += f"; at most {cast(PatientBody, request.body).limit} bytes are taken"
        return await _respond(sentence, status, headers)

    async def unexpected(error: Exception) -> Response:
        what = f"{request.method} {request.path}" if has_request_context() else "a WebSocket"
        if isinstance(error, Damaged):
            _log.error("%s failed: %s", what, error)
            return await _respond(
                "this log is damaged; stop the server and run 'rapidflow doctor --fix'", 500, {}
            )
        if isinstance(error, IntegrityError):
            _log.warning("%s failed: %s", what, error)
            return await _respond(_CHANGED, 409, {})
        # An error of the system that is none of a connection has nothing to do with the database.
        if is_away(error) and (isinstance(error, ConnectionError) or not isinstance(error, OSError)):
            _log.warning("%s failed: %s", what, error)
            reason = str(error).partition("\n")[0]
            sentence = f"the database can't be used now ({reason}); try again later"
            return await _respond(sentence, 500, {"Retry-After": "1"})
        _log.exception("%s failed", what, exc_info=error)
        return await _respond(_SENTENCES[500], 500, {})

    app.request_class = PatientRequest.limited(delivery=most_of_delivery, upload=most_of_upload)
    app.asgi_http_class = PacedConnection
    # A path with a doubled slash would be answered with a redirect, which is HTML.
    app.url_map.merge_slashes = False
    app.register_error_handler(RequestError, request_error)
    app.register_error_handler(HTTPException, http_exception)
    app.register_error_handler(Exception, unexpected)


def _detail(problem: Problem) -> dict[str, Any]:
    detail = asdict(problem)
    if problem.line is None:
        del detail["line"], detail["column"]
    return {**detail, "message": printable(problem.message)}


async def _respond(
    sentence: str,
    status: int,
    headers: Mapping[str, str],
    details: list[dict[str, Any]] | None = None,
    on_page: str | None = None,
    *,
    by_role: bool = False,
) -> Response:
    # Whatever it quotes of what a client sent.
    sentence = printable(sentence)
    # A WebSocket, which nothing here takes, has no request.
    path = request.path if has_request_context() else ""
    if _STREAM.fullmatch(path):
        return text_response(f"{sentence}\n", status, headers)
    if is_page(path) or (path and _is_nowhere(status) and _is_browser()):
        said = printable(on_page or sentence)
        page = await render("error.html", sentence=said, status=status, by_role=by_role)
        return Response(page, status, dict(headers), content_type="text/html; charset=utf-8")
    body: dict[str, Any] = {"error": sentence}
    if details is not None:
        body["details"] = details
    return json_response(body, status, headers)


def _is_nowhere(status: int) -> bool:
    return status == 404 and request.endpoint in (None, "static")


def _is_browser() -> bool:
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
