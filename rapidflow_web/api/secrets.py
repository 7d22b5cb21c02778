"""Routes of secrets. They take values, and never send one."""

from __future__ import annotations

from quart import Blueprint, Response

from rapidflow_web.api import representations
from rapidflow_web.api import user_schemas as schemas
from rapidflow_web.api.openapi import operation
from rapidflow_web.api.schemas import Message
from rapidflow_web.db import pipelines, secrets
from rapidflow_web.db.secrets import EVERYWHERE
from rapidflow_web.web import requests
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("secrets", __name__)


@blueprint.get("/secrets")
@operation(schemas.Secrets)
async def list_secrets() -> Response:
    """List the names of the secrets shared by all pipelines."""
    return await _list(EVERYWHERE)


@blueprint.put("/secrets/<name>")
@operation(schemas.Secret, body=schemas.NewSecret)
async def put_secret(name: str) -> Response:
    """Create or replace a secret shared by all pipelines."""
    return await _put(EVERYWHERE, name)


@blueprint.delete("/secrets/<name>")
@operation(Message)
async def delete_secret(name: str) -> Response:
    """Remove a secret."""
    return await _delete(EVERYWHERE, name)


@blueprint.get("/pipelines/<pipeline_id>/secrets")
@operation(schemas.Secrets)
async def list_pipeline_secrets(pipeline_id: int) -> Response:
    """List the names of the secrets of a pipeline."""
    await _known(pipeline_id)
    return await _list(pipeline_id)


@blueprint.put("/pipelines/<pipeline_id>/secrets/<name>")
@operation(schemas.Secret, body=schemas.NewSecret)
async def put_pipeline_secret(pipeline_id: int, name: str) -> Response:
    """Create or replace a secret of a pipeline.

    `RAPIDFLOW_CLONE_PASSWORD` is given to no build: with it the server fetches the source, for the server and
    the user that the clone URL names.
    """
    await _known(pipeline_id)
    return await _put(pipeline_id, name)


@blueprint.delete("/pipelines/<pipeline_id>/secrets/<name>")
@operation(Message)
async def delete_pipeline_secret(pipeline_id: int, name: str) -> Response:
    """Remove a secret of a pipeline."""
    await _known(pipeline_id)
    return await _delete(pipeline_id, name)


async def _list(scope: int) -> Response:
    return json_response([representations.secret(secret) for secret in await secrets.listed(scope)])


async def _put(scope: int, name: str) -> Response:
    wanted = await requests.body(schemas.NewSecret)
    stored = await services().secrets.put(scope, name, wanted.value, requests.started_by())
    return json_response(representations.secret(stored))


async def _delete(scope: int, name: str) -> Response:
    await services().secrets.remove(scope, name)
    return json_response({"message": "secret removed successfully"})


async def _known(pipeline_id: int) -> None:
    # The builds of a deleted one can be retried, with its secrets.
    await pipelines.existing(pipeline_id, also_deleted=True)
