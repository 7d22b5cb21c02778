"""Responses that are already bytes: several times faster than letting the framework encode them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from quart import Response
from quart.wrappers.response import ResponseBody


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response of a value that fits into memory, keys in their order."""
    return encoded_response(encoded(value), status, headers)


def encoded(value: Any) -> bytes:
    """JSON text of a value that fits into memory."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def encoded_response(
    body: bytes | ResponseBody, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response of JSON text, which may be made while it is sent, however long that takes."""
    response = Response(body, status, dict(headers or {}), content_type="application/json")
    if not isinstance(body, bytes):
        response.timeout = None
    return response


def text_response(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A plain text response."""
    return Response(text, status, dict(headers or {}), content_type="text/plain; charset=utf-8")
