"""Errors as people and programs see them: one sentence, the right status, in the form that they read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quart import Quart, Response, render_template, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from rapidflow_web.errors import Invalid, RangeNotSatisfiable, RequestError
from rapidflow_web.web.responses import json_response, text_response

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


def plain_text_errors(view: Any) -> Any:
    """Marks a view whose errors are plain text, for people at a terminal."""
    view.plain_text_errors = True
    return view


def install(app: Quart) -> None:
    """Maps every error that can reach a client."""

    async def request_error(error: RequestError) -> Response:
        headers: dict[str, str] = {}
        if isinstance(error, RangeNotSatisfiable):
            headers["Content-Range"] = f"bytes */{error.length}"
        details = [_detail(problem) for problem in error.problems] if isinstance(error, Invalid) else None
        return await _respond(str(error), error.status, headers, details)

    async def http_exception(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:
            return Response(b"", status, {"Location": str(getattr(error, "new_url", "/"))})
        headers: dict[str, str] = {}
        sentence = _SENTENCES.get(status, (error.description or error.name).splitlines()[0])
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            headers["Allow"] = ", ".join(sorted(error.valid_methods))
            sentence += f"; use {headers['Allow']}"
        if status == 413:
            sentence += f"; at most {app.config['MAX_CONTENT_LENGTH']} bytes are taken"
        return await _respond(sentence, status, headers)

    async def unexpected(error: Exception) -> Response:
        _log.exception("%s %s failed", request.method, request.path, exc_info=error)
        return await _respond(_SENTENCES[500], 500, {})

    app.register_error_handler(RequestError, request_error)
    app.register_error_handler(HTTPException, http_exception)
    app.register_error_handler(Exception, unexpected)


def _detail(problem: Any) -> dict[str, Any]:
    detail = asdict(problem)
    if problem.line is None:
        del detail["line"], detail["column"]
    return detail


async def _respond(
    sentence: str, status: int, headers: Mapping[str, str], details: list[dict[str, Any]] | None = None
) -> Response:
    view = request.endpoint and _view(request.endpoint)
    if getattr(view, "plain_text_errors", False):
        return text_response(f"{sentence}\n", status, headers)
    is_page = (request.endpoint or "").startswith("pages.")
    if is_page or (view is None and request.accept_mimetypes.best == "text/html"):
        page = await render_template("error.html", sentence=sentence, status=status)
        return Response(page, status, dict(headers), content_type="text/html; charset=utf-8")
    body: dict[str, Any] = {"error": sentence}
    if details is not None:
        body["details"] = details
    return json_response(body, status, headers)


def _view(endpoint: str) -> Any:
    from quart import current_app

    return current_app.view_functions.get(endpoint)
