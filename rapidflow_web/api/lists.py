"""Paging of lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from quart import Response, request

from rapidflow_web.api.query_schemas import Page
from rapidflow_web.web.responses import json_response


class _HasId(Protocol):
    @property
    def id(self) -> int: ...


Row = TypeVar("Row", bound=_HasId)


def list_response(rows: Sequence[Row], page: Page, render: Callable[[Row], dict[str, Any]]) -> Response:
    """The page, with a header that leads to the next one.

    `rows` has one more than belong on the page where there are more.
    """
    shown = rows[: page.limit]
    headers: dict[str, str] = {}
    if len(rows) > page.limit:
        wanted = {**request.args.to_dict(), "before": str(shown[-1].id)}
        headers["Link"] = f'<{request.path}?{urlencode(wanted)}>; rel="next"'
    return json_response([render(row) for row in shown], headers=headers)
