"""All builds: one list with filters, which are in its address. Those of the user are the same list."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from quart import Response, request

from rapidflow_web.builds.failures import is_awaited
from rapidflow_web.db import build_lists, build_search, parts, pipelines
from rapidflow_web.db.build_lists import Build
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.jobs import FINISHED, STATUSES
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint, fragment
from rapidflow_web.pages.failures import reason
from rapidflow_web.pages.origins import plain
from rapidflow_web.web.gate import actor
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.templates import render

_BUILDS = 50
_MOST_SUGGESTED = 500
_LONGEST = 200
"""Characters of a part of a name that is searched for."""
_MOST_TOLD = 50
"""Builds that somebody may wait to hear of; `told.js` has the same number."""
_HOUR = 3_600_000
_PERIODS = {
    "1h": ("Last hour", _HOUR),
    "1d": ("Last 24 hours", 24 * _HOUR),
    "7d": ("Last 7 days", 7 * 24 * _HOUR),
    "30d": ("Last 30 days", 30 * 24 * _HOUR),
}


@blueprint.get("/ui/builds")
async def show_builds() -> str:
    """All builds that may be seen and match."""
    suggested = await build_search.suggestions(_MOST_SUGGESTED)
    return await render(
        "builds.html",
        branches=suggested.branches,
        people=suggested.people,
        pipelines=await pipelines.names(_MOST_SUGGESTED),
        statuses=STATUSES,
        periods={name: label for name, (label, _) in _PERIODS.items()},
        **await _found(),
    )


@blueprint.get("/ui/builds/list")
async def show_builds_list() -> Response:
    """The part of that page that changes."""
    return await fragment("_found_builds.html", **await _found())


@blueprint.get("/ui/builds/told")
async def tell_of_builds() -> Response:
    """How the builds are that somebody wants to hear of; without those that may not be seen, or are gone."""
    asked = (forms.number(text) for text in request.args.get("ids", "")[:1000].split(","))
    ids = [number for number in asked if number is not None][:_MOST_TOLD]
    found = await build_lists.of_ids(ids)
    return json_response([_told(found[number]) for number in sorted(found)])


def _told(build: Build) -> dict[str, object]:
    why = reason(build) if build.status == "failed" else None
    return {
        "id": build.id,
        "name": plain(build.name),
        "status": build.status,
        # Whoever hears of a failure wants to hear the reason.
        "ended": build.status in FINISHED and not is_awaited(build),
        "title": plain(build.title or ""),
        "reason": plain(why.text) if why is not None else "",
    }


async def _found() -> dict[str, Any]:
    filters = {name: forms.words(name, _LONGEST) for name in ("pipeline", "branch", "who")}
    filters["status"] = _one_of("status", STATUSES)
    filters["since"] = _one_of("since", _PERIODS)
    user = actor().name if "mine" in request.args else None
    if user is not None:
        filters |= {"mine": "yes", "who": ""}
    before = forms.number(request.args.get("before", ""))
    since = filters["since"]
    found = await build_search.found(
        _BUILDS + 1,
        status=filters["status"] or None,
        pipeline=filters["pipeline"] or None,
        branch=filters["branch"] or None,
        who=filters["who"] or None,
        user=user,
        since=now_ms() - _PERIODS[since][1] if since else None,
        before=before,
    )
    given = {name: value for name, value in filters.items() if value}
    return {
        "builds": found[:_BUILDS],
        "parts_of": await parts.progress([build.id for build in found if build.status == "running"]),
        "filters": filters,
        "before": before,
        "mine": user is not None,
        "query": urlencode(given | ({"before": before} if before else {})),
        "newest": urlencode(given),
        "older": urlencode({**given, "before": found[_BUILDS - 1].id}) if len(found) > _BUILDS else None,
    }


def _one_of(name: str, words: Any) -> str:
    value = request.args.get(name, "")
    return value if value in words else ""
