"""The dashboard."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from quart import Response, current_app, request

from rapidflow_web.builds.waiting import holder, running_before
from rapidflow_web.db import build_lists, dashboard, parts, pipeline_search
from rapidflow_web.db.related_builds import usual
from rapidflow_web.pages import charts, examples, forms
from rapidflow_web.pages.blueprint import blueprint, fragment
from rapidflow_web.pages.favourites import favourites
from rapidflow_web.pages.origins import plain
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.response_cache import cacheable
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
    cacheable()
    return await render("dashboard.html", **await _overview())


@blueprint.get("/ui/overview")
async def show_overview() -> Response:
    """The part of the dashboard that changes."""
    cacheable()
    return await fragment("_overview.html", **await _overview())


async def _overview() -> dict[str, Any]:
    page = request.args.get("page", "1")
    number = int(page) if page.isascii() and page.isdigit() and 1 <= len(page) <= 6 else 1
    first, text = (number - 1) * _PIPELINES, forms.words("q", pipeline_search.LONGEST)
    if text or favourites():
        every = await pipeline_search.found(text, favourites())
        if not text:
            # By name, as without favourites: a build that ends is to move no row.
            every.sort(key=lambda one: (not one.favourite, one.name.lower(), one.id))
        found = every[first : first + _PIPELINES + 1]
    else:
        found = await dashboard.pipelines(_PIPELINES + 1, first)
    pipelines = found[:_PIPELINES]
    running, waiting, recent = await build_lists.now_and_recent(_RUNNING, _WAITING, _RECENT)
    bars = await build_lists.bars_of_each([pipeline.id for pipeline in pipelines], _BARS)
    names = list({build.pipeline_id for build in running})
    of_groups = await running_before(waiting)
    behind = {build.id: holder(build.concurrency_group, of_groups) for build in waiting}
    in_line = [
        build.id for build in waiting if not (build.unread or build.approval == "waiting" or behind[build.id])
    ]
    return {
        "running": running,
        "parts_of": await parts.progress([build.id for build in running]),
        "steps_of": await dashboard.progress([build.id for build in running]),
        "usual": await usual(names) if names else {},
        "waiting": waiting,
        "behind": behind,
        "in_line": in_line,
        "waiting_count": await dashboard.count_waiting(_MOST_WAITING)
        if len(waiting) == _WAITING
        else len(waiting),
        "slots": services().queue.slots,
        "nowhere": {build.id: services().queue.reason(build.on_node) for build in waiting},
        "parked": services().executor.parked,
        "recent": recent,
        "pipelines": pipelines,
        "bars": {
            pipeline.id: charts.drawing(
                bars[pipeline.id],
                f"Last builds of {plain(pipeline.name)}",
                _BARS,
                in_tab_order=False,
                prefix=prefix_of(current_app),
            )
            for pipeline in pipelines
            if bars[pipeline.id]
        },
        "examples": examples.every() if number == 1 and not (pipelines or text) else (),
        "runs_in": services().settings.default_image if services().executor.images is not None else None,
        "last": {number: of_one[-1] for number, of_one in bars.items() if of_one},
        "q": text,
        "page": number,
        "asked": _query(text, number),
        "previous": _query(text, number - 1),
        "next": _query(text, number + 1),
        "more": len(found) > _PIPELINES,
    }


def _query(text: str, number: int) -> str:
    return urlencode({**({"q": text} if text else {}), **({"page": number} if number > 1 else {})})
