"""Routes about the server itself."""

from __future__ import annotations

from quart import Blueprint, Response

from rapidflow_web import __version__, metrics
from rapidflow_web.api import schemas
from rapidflow_web.api.operation import Text, operation, text
from rapidflow_web.db import jobs
from rapidflow_web.db.database import now_ms
from rapidflow_web.engine.readiness import Readiness, readiness
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("system", __name__)

_METRICS = Text(
    request_headers={},
    responses={"200": {"description": "Metrics in the text format of Prometheus.", "content": text()}},
)


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


@blueprint.get("/ready")
@operation(schemas.Ready, other={503: "Something is wrong: builds wait, or can't be stored."})
async def get_ready() -> Response:
    """Tell whether builds can be stored, run and written down now."""
    now = await _readiness()
    return json_response(
        {
            "status": "ready" if now.ready else "not ready",
            "database": now.database or "ok",
            "engine": now.engine or "ok",
            "disk": now.disk or "ok",
        },
        200 if now.ready else 503,
    )


@blueprint.get("/metrics")
@operation(_METRICS)
async def get_metrics() -> Response:
    """Give numbers to Prometheus: builds, queue, steps, streams, bytes, lag."""
    now = await _readiness()
    for part in ("database", "engine", "disk"):
        metrics.READY.labels(part).set(getattr(now, part) is None)
    metrics.RUNNING.set(services().scheduler.running)
    if now.database is None:
        count, oldest = await jobs.waiting()
        metrics.QUEUED.set(count)
        metrics.QUEUE_AGE.set((now_ms() - oldest) / 1000 if oldest is not None else 0)
    return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


async def _readiness() -> Readiness:
    return await readiness(services().scheduler, services().settings.data)
