"""The page that answers "Why did this not build?", and those of deliveries, for administrators."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from quart import Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import deliveries, events, pipelines, repositories
from rapidflow_web.db.trigger_models import Delivery
from rapidflow_web.errors import RequestError
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.happened import happened
from rapidflow_web.web.services import services

_EVENTS = 30
_DELIVERIES = 50
_MOST_SHOWN = 64 * 1024
"""Bytes of the body of a delivery; a program can have all of it."""


@blueprint.get("/ui/repositories/<repository_id>/events")
async def show_events(repository_id: int) -> Response:
    """What happened at a repository, and what that meant for each pipeline."""
    repository = await repositories.existing(repository_id)
    before = forms.number(request.args.get("before", ""))
    found = await events.listed(repository.id, before=before, limit=_EVENTS + 1)
    return await forms.page(
        "repository_events.html",
        repository=repository,
        events=await happened(found[:_EVENTS]),
        older=found[_EVENTS - 1].id if len(found) > _EVENTS else None,
        is_first=before is None,
    )


@blueprint.get("/ui/repositories/<repository_id>/deliveries")
async def show_deliveries(repository_id: int) -> Response:
    """The deliveries to the webhook of a repository."""
    repository = await repositories.existing(repository_id)
    before = forms.number(request.args.get("before", ""))
    found = await deliveries.listed(repository.id, before=before, limit=_DELIVERIES + 1)
    return await forms.page(
        "deliveries.html",
        repository=repository,
        deliveries=found[:_DELIVERIES],
        older=found[_DELIVERIES - 1].id if len(found) > _DELIVERIES else None,
        is_first=before is None,
    )


@blueprint.get("/ui/deliveries/<delivery_id>")
async def show_delivery(delivery_id: int) -> Response:
    """A delivery with its headers, its body and what it led to."""
    return await _page(await deliveries.existing(delivery_id))


@blueprint.post("/ui/deliveries/<delivery_id>/replay")
async def replay_delivery(delivery_id: int) -> Response | WerkzeugResponse:
    """Has a delivery judged anew, or with `dry_run` says what that would mean."""
    delivery = await deliveries.existing(delivery_id)
    try:
        if (await forms.fields()).get("dry_run") is None:
            made = await services().triggers.hooks.replay(delivery.id)
            return redirect(f"/ui/deliveries/{made.id}", 303)
        foreseen = await services().triggers.foresee(delivery.id)
    except RequestError as error:
        return await _page(delivery, error.status, problem=str(error))
    ids = [one.pipeline_id for judgement in foreseen for one in judgement.verdicts if one.pipeline_id]
    return await _page(delivery, foreseen=foreseen, names=await pipelines.names_of(ids))


async def _page(delivery: Delivery, status: int = 200, **values: Any) -> Response:
    return await forms.page(
        "delivery.html",
        status,
        delivery=delivery,
        repository=await repositories.existing(delivery.repository_id),
        body=None if delivery.body is None else await asyncio.to_thread(_shown, bytes(delivery.body)),
        is_cut=delivery.body is not None and len(delivery.body) > _MOST_SHOWN,
        events=await happened(await events.of_delivery(delivery.id)),
        **values,
    )


def _shown(body: bytes) -> str:
    """The body as people read it: JSON with its lines, anything else as it came, up to a size."""
    text = body[:_MOST_SHOWN].decode("utf-8", "replace")
    if len(body) <= _MOST_SHOWN:
        try:
            return json.dumps(json.loads(text), indent=2, ensure_ascii=False)[: 4 * _MOST_SHOWN]
        except (ValueError, RecursionError):
            return text
    return text
