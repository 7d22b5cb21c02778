"""Routes about the server itself."""

from __future__ import annotations

from quart import Blueprint, Response

from rapidflow_web import __version__
from rapidflow_web.api import schemas
from rapidflow_web.api.operation import operation
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("system", __name__)


@blueprint.get("/health")
@operation(schemas.Health)
async def get_health() -> Response:
    """Tell that the server is alive."""
    scheduler = services().scheduler
    return json_response(
        {
            "status": "ok",
            "version": __version__,
            "executor": scheduler.executor.name,
            "engine": scheduler.engine_problem or "ok",
        }
    )
