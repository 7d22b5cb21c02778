"""Badges: a picture with the status of a pipeline, for a README at the forge.

Browsers fetch it without a login, and forges by themselves: it is public, and an image whatever is asked.
"""

from __future__ import annotations

import hashlib

from quart import Blueprint, Response, request

from rapidflow_web.api import query_schemas
from rapidflow_web.api.openapi import Text, header, operation
from rapidflow_web.db import badges
from rapidflow_web.errors import NotFound
from rapidflow_web.web.requests import identifier

blueprint = Blueprint("badges", __name__)

_LONGEST_BRANCH = 1000
"""Characters."""
_LABEL = "build"
_COLOURS = {
    "success": "#1a7f37", "failed": "#c4281c", "running": "#0a5fb4", "pending": "#8a5a00",
    "cancelled": "#57606a", "unknown": "#57606a",
}  # fmt: skip
"""White text on them has a contrast of 4.5 or more."""
_WIDTH = 7
"""Pixels of a letter, rounded up, so that other fonts fit."""
_ANSWER = Text(
    request_headers={"If-None-Match": "The ETag of the cached badge."},
    responses={
        "200": {
            "description": "The badge. It says `unknown` if there is no build, no such pipeline, or one that "
            "is restricted.",
            "headers": {"ETag": header("Identifies this version.")},
            "content": {"image/svg+xml": {"schema": {"type": "string"}}},
        },
        "304": {"description": "The badge has not changed."},
    },
)
_HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@blueprint.get("/pipelines/<pipeline_id>/badge.svg")
@operation(_ANSWER, query=query_schemas.BadgeQuery, lenient=True)
async def get_badge(pipeline_id: str) -> Response:
    """Get a badge with the status of the newest build of a branch. Needs no login."""
    svg = _svg(await _status_of(pipeline_id, request.args.get("branch") or None) or "unknown")
    response = Response(svg, headers=_HEADERS, content_type="image/svg+xml; charset=utf-8")
    response.set_etag(hashlib.sha256(svg.encode()).hexdigest()[:16])
    return await response.make_conditional(request)


async def _status_of(pipeline_id: str, branch: str | None) -> str | None:
    try:
        number = identifier(pipeline_id, "pipeline")
    except NotFound:
        return None
    if branch is not None and ("\0" in branch or len(branch) > _LONGEST_BRANCH):
        return None
    return await badges.status_of(number, branch)


def _svg(status: str) -> str:
    left, right = (_WIDTH * len(word) + 12 for word in (_LABEL, status))
    width = left + right
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        f'aria-label="{_LABEL}: {status}">'
        f"<title>{_LABEL}: {status}</title>"
        f'<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#3a3f45"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{_COLOURS[status]}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" '
        f'font-size="11"><text x="{left / 2:g}" y="14">{_LABEL}</text>'
        f'<text x="{left + right / 2:g}" y="14">{status}</text></g></svg>'
    )
