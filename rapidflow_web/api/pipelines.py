"""Routes of pipelines."""

from __future__ import annotations

from quart import Blueprint, Response, request

from rapidflow_web.api import render, schemas
from rapidflow_web.api.lists import link_next
from rapidflow_web.api.operation import operation
from rapidflow_web.db import jobs, pipelines
from rapidflow_web.db.models import Pipeline
from rapidflow_web.errors import BadRequest, NotFound, UnsupportedMediaType
from rapidflow_web.web import requests
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("pipelines", __name__)


@blueprint.post("/pipelines")
@operation(schemas.Pipeline, status=201, body=schemas.NewPipeline, body_required=True, yaml=True)
async def create_pipeline() -> Response:
    """Store a pipeline.

    As JSON with the YAML text in `config`, or as the YAML text itself with `Content-Type: application/yaml`.
    """
    requests.query(schemas.NoQuery)
    name, config = await _submitted()
    pipeline = await pipelines.create(name, config)
    return json_response(render.pipeline(pipeline), 201, {"Location": f"/pipelines/{pipeline.id}"})


@blueprint.get("/pipelines")
@operation(schemas.Pipelines, query=schemas.PipelinePage, listed=True)
async def list_pipelines() -> Response:
    """List the pipelines, newest first."""
    page = requests.query(schemas.PipelinePage)
    found = await pipelines.listed(name=page.name, before=page.before, limit=page.limit)
    return json_response([render.pipeline(row) for row in found], headers=link_next(found, page))


@blueprint.get("/pipelines/<pipeline_id>")
@operation(schemas.Pipeline, errors=(404,))
async def get_pipeline(pipeline_id: str) -> Response:
    """Get a pipeline."""
    requests.query(schemas.NoQuery)
    return json_response(render.pipeline(await _existing(pipeline_id)))


@blueprint.put("/pipelines/<pipeline_id>")
@operation(schemas.Pipeline, body=schemas.NewPipeline, body_required=True, yaml=True, errors=(404,))
async def update_pipeline(pipeline_id: str) -> Response:
    """Give a pipeline a new definition. Jobs keep the one that they ran with."""
    requests.query(schemas.NoQuery)
    pipeline = await _existing(pipeline_id)
    name, config = await _submitted()
    await pipelines.update(pipeline.id, name, config)
    return json_response(render.pipeline(await _existing(pipeline_id)))


@blueprint.delete("/pipelines/<pipeline_id>")
@operation(schemas.Message, errors=(404,))
async def delete_pipeline(pipeline_id: str) -> Response:
    """Hide a pipeline. Its jobs stay and can be retried."""
    requests.query(schemas.NoQuery)
    pipeline = await _existing(pipeline_id)
    await pipelines.delete(pipeline.id)
    return json_response({"message": "pipeline deleted successfully"})


@blueprint.post("/pipelines/<pipeline_id>/jobs")
@operation(schemas.Job, status=201, body=schemas.NewJob, errors=(404,))
async def start_job(pipeline_id: str) -> Response:
    """Start a build of a pipeline. The body is optional and overrides what the pipeline says."""
    requests.query(schemas.NoQuery)
    number = requests.identifier(pipeline_id, "pipeline")
    wanted = await requests.body(schemas.NewJob)
    job = await services().builds.start(
        number, started_by=started_by(), branch=wanted.branch, environment=wanted.environments
    )
    return json_response(render.job(job), 201, {"Location": f"/jobs/{job.id}"})


@blueprint.get("/pipelines/<pipeline_id>/jobs")
@operation(schemas.Jobs, query=schemas.JobPage, errors=(404,), listed=True)
async def list_pipeline_jobs(pipeline_id: str) -> Response:
    """List the builds of a pipeline, newest first."""
    page = requests.query(schemas.JobPage)
    pipeline = await _existing(pipeline_id)
    filters = page.model_dump(include={"status", "branch"}, exclude_none=True)
    found = await jobs.listed(before=page.before, limit=page.limit, pipeline_id=pipeline.id, **filters)
    return json_response([render.job(row) for row in found], headers=link_next(found, page))


def started_by() -> str:
    """What a job says of who started it."""
    agent = request.headers.get("User-Agent", "")
    return "cli" if agent.startswith("rapidflow/") else "api"


async def _existing(pipeline_id: str) -> Pipeline:
    pipeline = await pipelines.get(requests.identifier(pipeline_id, "pipeline"))
    if pipeline is None:
        raise NotFound(f"there is no pipeline {pipeline_id}")
    return pipeline


async def _submitted() -> tuple[str, str]:
    """Name and YAML text of the submitted pipeline, which is valid."""
    data = await request.get_data()
    name = None
    if requests.media_type() in requests.YAML:
        try:
            config = data.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest("the body is not valid UTF-8") from None
    elif requests.media_type() in requests.JSON:
        submitted = requests.validated(schemas.NewPipeline, requests.parse_json(data))
        name, config = submitted.name, submitted.config
    else:
        raise UnsupportedMediaType(
            "send a pipeline as application/yaml, or as application/json with 'name' and 'config'"
        )
    return services().builds.parse(config, name).name, config
