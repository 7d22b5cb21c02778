"""All pipelines on one page, found by typing."""

from __future__ import annotations

from typing import Any

from quart import Response, request

from rapidflow_web.db import build_lists, pipeline_search
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint, fragment
from rapidflow_web.pages.favourites import favourites
from rapidflow_web.web.response_cache import cacheable
from rapidflow_web.web.templates import render

_DONE = {"deleted": "The pipeline is deleted. Its builds stay."}
_MOST = 500
"""Pipelines that are shown at once."""


@blueprint.get("/ui/pipelines")
async def show_pipelines() -> str:
    """All pipelines that may be seen and match."""
    cacheable()
    return await render("pipelines.html", done=_DONE.get(request.args.get("done", "")), **await _found())


@blueprint.get("/ui/pipelines/list")
async def show_pipelines_list() -> Response:
    """The part of that page that changes."""
    cacheable()
    return await fragment("_found_pipelines.html", **await _found())


async def _found() -> dict[str, Any]:
    text = forms.words("q", pipeline_search.LONGEST)
    found = await pipeline_search.found(text, favourites())
    shown = found[:_MOST]
    builds = await build_lists.of_ids([one.last_id for one in shown if one.last_id is not None])
    return {"q": text, "found": shown, "count": len(found), "builds": builds}
