"""The dashboard."""

from __future__ import annotations

from typing import Any

from quart import render_template

from rapidflow_web.db import overview, pipelines
from rapidflow_web.pages.blueprint import blueprint

_RECENT = 20
_PIPELINES = 100


@blueprint.get("/")
async def show_dashboard() -> str:
    """What runs, what waits, what has finished."""
    return await render_template("dashboard.html", **await _overview())


@blueprint.get("/ui/overview")
async def show_overview() -> str:
    """The part of the dashboard that changes."""
    return await render_template("_overview.html", **await _overview())


async def _overview() -> dict[str, Any]:
    return {
        "running": await overview.running(),
        "waiting": await overview.waiting(_RECENT),
        "recent": await overview.recent(_RECENT),
        "pipelines": await pipelines.listed(limit=_PIPELINES),
        "last_jobs": await overview.last_jobs(),
    }
