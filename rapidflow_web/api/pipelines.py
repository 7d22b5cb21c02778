"""Routes of pipelines."""

from __future__ import annotations

from typing import TypeVar

from quart import Blueprint, Response

from rapidflow_web.api import representations, schemas
from rapidflow_web.api.lists import list_response
from rapidflow_web.api.openapi import operation
from rapidflow_web.db import jobs, pipelines
from rapidflow_web.errors import BadRequest, Invalid, Problem, UnsupportedMediaType
from rapidflow_web.web import requests
from rapidflow_web.web.pipelines import store_pipeline
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("pipelines", __name__)

P = TypeVar("P", bound=schemas.ChangedPipeline)


@blueprint.post("/pipelines")
@operation(schemas.Pipeline, status=201, query=schemas.NewPipelineQuery, body=schemas.NewPipeline, yaml=True)
async def create_pipeline(query: schemas.NewPipelineQuery) -> Response:
    """Create a pipeline.

    As JSON with the YAML text in `config`, or as the YAML text itself with `Content-Type: application/yaml`.
    With `visibility`, or in the query for YAML text, it is restricted from the first moment.
    A password in the clone URL is taken out of the text and kept apart; nothing sends it again.
    """
    submitted = await _submitted(schemas.NewPipeline)
    pipeline = await store_pipeline(
        submitted.config,
        submitted.name,
        by=requests.started_by(),
        seen_by=_seen_by(submitted.visibility, query),
    )
    return json_response(representations.pipeline(pipeline), 201, {"Location": f"/pipelines/{pipeline.id}"})


@blueprint.get("/pipelines")
@operation(schemas.Pipelines, query=schemas.PipelinePage, listed=True)
async def list_pipelines(page: schemas.PipelinePage) -> Response:
    """List the pipelines, newest first."""
    found = await pipelines.listed(name=page.name, before=page.before, limit=page.limit + 1)
    return list_response(found, page, representations.pipeline)


@blueprint.get("/pipelines/<pipeline_id>")
@operation(schemas.Pipeline)
async def get_pipeline(pipeline_id: int) -> Response:
    """Get a pipeline."""
    return json_response(representations.pipeline(await pipelines.existing(pipeline_id)))


@blueprint.put("/pipelines/<pipeline_id>")
@operation(schemas.Pipeline, body=schemas.ChangedPipeline, yaml=True, conflict=True)
async def update_pipeline(pipeline_id: int) -> Response:
    """Change the definition of a pipeline. Existing jobs keep theirs.

    A password that is stored stays where the clone URL has none, for the server and the user that it is for.
    """
    await pipelines.existing(pipeline_id)
    submitted = await _submitted(schemas.ChangedPipeline)
    pipeline = await services().builds.change(
        pipeline_id, submitted.config, submitted.name, by=requests.started_by()
    )
    return json_response(representations.pipeline(pipeline))


@blueprint.delete("/pipelines/<pipeline_id>")
@operation(schemas.Message)
async def delete_pipeline(pipeline_id: int) -> Response:
    """Delete a pipeline. Its jobs stay and can be retried."""
    await pipelines.existing(pipeline_id)
    await pipelines.delete(pipeline_id)
    return json_response({"message": "pipeline deleted successfully"})


@blueprint.post("/pipelines/<pipeline_id>/jobs")
@operation(schemas.Job, status=201, body=schemas.NewJob, throttled=True)
async def start_job(pipeline_id: int) -> Response:
    """Start a build of a pipeline. The optional body overrides the definition."""
    wanted = await requests.body(schemas.NewJob)
    job = await services().beginning.start(
        pipeline_id,
        requests.cause(),
        branch=wanted.branch,
        commit=wanted.commit,
        tag=wanted.tag,
        environment=wanted.environments,
    )
    return json_response(representations.job(job), 201, {"Location": f"/jobs/{job.id}"})


@blueprint.get("/pipelines/<pipeline_id>/jobs")
@operation(schemas.Jobs, query=schemas.JobPage, listed=True)
async def list_pipeline_jobs(page: schemas.JobPage, pipeline_id: int) -> Response:
    """List the builds of a pipeline, newest first."""
    await pipelines.existing(pipeline_id)
    filters = page.model_dump(include={"status", "branch"}, exclude_none=True)
    found = await jobs.listed(before=page.before, limit=page.limit + 1, pipeline_id=pipeline_id, **filters)
    return list_response(found, page, representations.job)


async def _submitted(model: type[P]) -> P:
    """The submitted pipeline; of YAML text alone just the text."""
    data = await requests.content()
    if requests.media_type() in requests.YAML:
        try:
            return model(config=data.decode())
        except UnicodeDecodeError:
            raise BadRequest("the body is not valid UTF-8") from None
    if requests.media_type() in requests.JSON:
        return requests.validated(model, requests.parse_json(data))
    raise UnsupportedMediaType(
        "send a pipeline as application/yaml, or as application/json with 'name' and 'config'"
    )


def _seen_by(wanted: schemas.Visibility | None, query: schemas.NewPipelineQuery) -> list[str] | None:
    """The users who may see a pipeline beside administrators; None for everyone."""
    if wanted is None:
        names = [name.strip() for name in (query.users or "").split(",") if name.strip()]
        wanted = schemas.Visibility(restricted=query.restricted, users=names)
    elif query.restricted or query.users is not None:
        raise BadRequest("say who may see it either in the body or in the query, not in both")
    if wanted.users and not wanted.restricted:
        said = "users are named who may see it, so restricted must be true"
        raise Invalid([Problem("visibility.users", said)])
    return wanted.users if wanted.restricted else None
