"""Paging of lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlencode

from quart import request

from rapidflow_web.api.schemas import Page


class _HasId(Protocol):
    id: int


def link_next(rows: Sequence[_HasId], page: Page) -> dict[str, str]:
    """The header that leads to the next page; none after the last one."""
    if len(rows) < page.limit:
        return {}
    wanted = {**request.args.to_dict(), "before": str(rows[-1].id)}
    return {"Link": f'<{request.path}?{urlencode(wanted)}>; rel="next"'}
