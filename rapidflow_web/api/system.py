"""Routes about the server itself."""

from __future__ import annotations

from quart import Blueprint, Response

from rapidflow_web import __version__, metrics
from rapidflow_web.api import node_schemas, representations, schemas
from rapidflow_web.api.openapi import Text, operation, text
from rapidflow_web.builds.readiness import Readiness, readiness
from rapidflow_web.db import jobs, nodes, notifications, statuses
from rapidflow_web.db.database import now_ms
from rapidflow_web.errors import Forbidden
from rapidflow_web.web.gate import actor
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
    """Check that the server is alive."""
    return json_response(
        {
            "status": "ok",
            "version": __version__,
            "executor": services().executor.name,
            "engine": services().health.engine_problem or "ok",
        }
    )


@blueprint.get("/ready")
@operation(schemas.Ready, other={503: "Not ready: builds wait, or cannot be stored."})
async def get_ready() -> Response:
    """Check whether the server can store and run builds."""
    now = await _readiness()
    return json_response(
        {
            "status": "draining" if now.draining else "ready" if now.ready else "not ready",
            "database": now.database or "ok",
            "engine": now.engine or "ok",
            "disk": now.disk or "ok",
        },
        200 if now.ready else 503,
    )


@blueprint.get("/nodes")
@operation(node_schemas.Nodes)
async def list_nodes() -> Response:
    """List the machines on which builds run, with what runs on each."""
    running = await nodes.running()
    loads = services().queue.nodes or ()
    return json_response([representations.node(load, running.get(load.node.id, ())) for load in loads])


@blueprint.post("/prune")
@operation(schemas.Pruned, query=schemas.PruneQuery)
async def prune(wanted: schemas.PruneQuery) -> Response:
    """Prune builds with their logs, mirrors and images beyond their retention settings.

    The server does so by itself every hour.
    """
    pruned = await services().maintenance.prune(dry_run=wanted.dry_run)
    return json_response(
        {
            "dry_run": wanted.dry_run,
            "builds": [
                {
                    "id": one.build.id,
                    "pipeline_id": one.build.pipeline_id,
                    "finished_at": representations.time(one.build.finished_at),
                    "bytes": one.build.size,
                    "reason": one.reason,
                }
                for one in pruned.builds
            ],
            "mirrors": [
                {
                    "name": one.path.name,
                    "bytes": one.size,
                    "used_at": representations.time(int(one.used_at * 1000)),
                }
                for one in pruned.mirrors
            ],
            "images": [{"name": name, "bytes": size} for name, size in pruned.images],
        }
    )


@blueprint.get("/metrics")
@operation(_METRICS)
async def get_metrics() -> Response:
    """Get the Prometheus metrics: builds, queue, steps, streams, bytes, event loop lag.

    They count all pipelines, so whoever does not see all gets 403. A token with the role viewer of an
    administrator sees all.
    """
    if not actor().visibility.is_unrestricted:
        raise Forbidden(
            "these numbers count all pipelines, and some are hidden from you; use a token of an "
            "administrator that is not limited to pipelines: rapidflow token add ADMIN metrics --role viewer"
        )
    now = await _readiness()
    for part in ("database", "engine", "disk"):
        metrics.READY.labels(part).set(getattr(now, part) is None)
    metrics.DRAINING.set(now.draining)
    metrics.RUNNING.set(services().supervisor.running)
    metrics.PARKED.set(services().executor.parked)
    metrics.note_nodes(
        {
            load.node.name: (load.taken, load.node.slots, load.node.parked, load.node.reachable)
            for load in services().queue.nodes or ()
        }
    )
    if now.database is None:
        count, oldest = await jobs.waiting()
        metrics.QUEUED.set(count)
        metrics.UNSENT.labels("status").set(await statuses.waiting())
        metrics.UNSENT.labels("notification").set(await notifications.waiting())
        metrics.QUEUE_AGE.set((now_ms() - oldest) / 1000 if oldest is not None else 0)
    return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


async def _readiness() -> Readiness:
    here = services()
    return await readiness(here.supervisor, here.queue, here.health, here.settings.data)
