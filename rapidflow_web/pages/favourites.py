"""The pipelines that a browser lists first. They are in a cookie: nothing else depends on them."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from quart import current_app, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import pipeline_search, pipelines
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.gate import is_secure
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.response_cache import FAVOURITES, LONGEST_FAVOURITES

_MOST = 100
_SECONDS = 400 * 24 * 3600
"""Browsers keep no cookie for longer."""


def favourites() -> list[int]:
    """The ids of the favourites, the newest last."""
    text = request.cookies.get(FAVOURITES, "")
    return [
        int(number)
        for number in re.findall(r"(?<!\d)[1-9]\d{0,14}(?!\d)", text[:LONGEST_FAVOURITES], re.ASCII)
    ][-_MOST:]


@blueprint.post("/ui/pipelines/<pipeline_id>/favourite")
async def toggle_favourite(pipeline_id: int) -> WerkzeugResponse:
    """Makes a pipeline a favourite of this browser, or no favourite any more."""
    pipeline = await pipelines.existing(pipeline_id)
    text = (await forms.fields()).get("q", "")[: pipeline_search.LONGEST]
    chosen = favourites()
    chosen = (
        [one for one in chosen if one != pipeline.id] if pipeline.id in chosen else [*chosen, pipeline.id]
    )
    response = redirect(f"/ui/pipelines?{urlencode({'q': text})}" if text else "/ui/pipelines", 303)
    response.set_cookie(
        FAVOURITES,
        ".".join(map(str, chosen[-_MOST:])),
        max_age=_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=is_secure(),
        path=prefix_of(current_app) or "/",
    )
    return response
