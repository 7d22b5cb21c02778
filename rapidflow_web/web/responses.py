"""Responses that are already bytes: several times faster than letting the framework encode them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from quart import Response


def encode(value: Any) -> bytes:
    """`value` as JSON, keys in their order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response of a value that fits into memory."""
    return Response(encode(value), status, dict(headers or {}), content_type="application/json")


def text_response(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A plain text response."""
    return Response(text, status, dict(headers or {}), content_type="text/plain; charset=utf-8")
