"""The dashboard."""

from __future__ import annotations

from typing import Any

from quart import Response, current_app, request

from rapidflow_web.db import build_lists, dashboard
from rapidflow_web.db.jobs import FINISHED
from rapidflow_web.db.related_builds import usual
from rapidflow_web.pages import charts
from rapidflow_web.pages.blueprint import blueprint, fragment
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.services import services
from rapidflow_web.web.templates import render

_RUNNING = 50
_WAITING = 20
_RECENT = 15
_PIPELINES = 50
_BARS = 30
_MOST_WAITING = 1_000


@blueprint.get("/")
async def show_dashboard() -> str:
    """What runs, what waits, what has finished."""
    return await render("dashboard.html", **await _overview())


@blueprint.get("/ui/overview")
async def show_overview() -> Response:
    """The part of the dashboard that changes."""
    return await fragment("_overview.html", **await _overview())


async def _overview() -> dict[str, Any]:
    page = request.args.get("page", "1")
    number = int(page) if page.isascii() and page.isdigit() and 1 <= len(page) <= 6 else 1
    found = await dashboard.pipelines(_PIPELINES + 1, max(0, number - 1) * _PIPELINES)
    pipelines = found[:_PIPELINES]
    running = await build_lists.oldest(_RUNNING, "running")
    bars = await build_lists.bars_of_each([pipeline.id for pipeline in pipelines], _BARS)
    names = list({build.pipeline_id for build in running})
    return {
        "running": running,
        "steps_of": await dashboard.progress([build.id for build in running]),
        "usual": await usual(names) if names else {},
        "waiting": await build_lists.oldest(_WAITING, "pending"),
        "waiting_count": await dashboard.count_waiting(_MOST_WAITING),
        "slots": services().settings.concurrency,
        "recent": await build_lists.newest(_RECENT, statuses=FINISHED),
        "pipelines": pipelines,
        "bars": {
            pipeline.id: charts.drawing(
                bars[pipeline.id],
                f"Last builds of {pipeline.name}",
                _BARS,
                in_tab_order=False,
                prefix=prefix_of(current_app),
            )
            for pipeline in pipelines
            if bars[pipeline.id]
        },
        "last": {number: of_one[-1] for number, of_one in bars.items() if of_one},
        "page": max(1, number),
        "more": len(found) > _PIPELINES,
    }
