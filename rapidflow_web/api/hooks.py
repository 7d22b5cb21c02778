"""Routes that take deliveries of webhooks, and what git gives to `post-receive`."""

from __future__ import annotations

from quart import Blueprint, Response, request

from rapidflow_web.api import repository_schemas as schemas
from rapidflow_web.api.openapi import operation
from rapidflow_web.triggers.hooks import Answer
from rapidflow_web.web import requests
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("hooks", __name__)


@blueprint.post("/hooks/<key>")
@operation(
    schemas.Taken,
    status=202,
    text=("application/json", "application/x-www-form-urlencoded"),
    other={200: "There is nothing to do for it, and `reason` says why."},
)
async def take_delivery(key: str) -> Response:
    """Take a delivery of a webhook. It is answered once it is stored; its builds follow."""
    # Whoever does not know the key can't have the server hold a body.
    await services().triggers.hooks.repository_of(key)
    body = await request.get_data(cache=True, as_text=False, parse_form_data=False)
    headers = [(str(name), str(value)) for name, value in request.headers.items()]
    return _answer(await services().triggers.hooks.take(key, headers, body))


@blueprint.post("/repositories/<repository_id>/refs")
@operation(schemas.Taken, status=202, text=("text/plain",))
async def take_refs(repository_id: int) -> Response:
    """Take lines `OLD NEW REF`, as git gives them to `post-receive`."""
    return _answer(await services().triggers.hooks.take_refs(repository_id, await requests.content()))


def _answer(answer: Answer) -> Response:
    body: dict[str, object] = {"delivery": answer.delivery_id}
    if answer.reason is not None:
        body["reason"] = answer.reason
    return json_response(body, answer.status)
