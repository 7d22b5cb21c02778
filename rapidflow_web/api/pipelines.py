"""Routes of pipelines."""

from __future__ import annotations

from typing import TypeVar

from quart import Blueprint, Response

from rapidflow_web.api import job_answers, query_schemas, representations, schemas
from rapidflow_web.api.lists import list_response
from rapidflow_web.api.openapi import operation
from rapidflow_web.db import job_lists, pipelines
from rapidflow_web.errors import BadRequest, Invalid, Problem, UnsupportedMediaType
from rapidflow_web.web import pipelines as changes
from rapidflow_web.web import requests
from rapidflow_web.web.disconnect import until_disconnect
from rapidflow_web.web.gate import actor
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
    pipeline = await changes.store_pipeline(
        submitted.config,
        submitted.name,
        by=requests.started_by(),
        seen_by=_seen_by(submitted.visibility, query),
    )
    return json_response(representations.pipeline(pipeline), 201, {"Location": f"/pipelines/{pipeline.id}"})


@blueprint.get("/pipelines")
@operation(schemas.Pipelines, query=query_schemas.PipelinePage, listed=True)
async def list_pipelines(page: query_schemas.PipelinePage) -> Response:
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
    """Delete a pipeline. Its jobs stay and can be retried.

    A push brings back one that a file in its repository defines; to delete it for good, remove the file.
    """
    await changes.delete_pipeline(await pipelines.existing(pipeline_id))
    return json_response({"message": "pipeline deleted successfully"})


@blueprint.post("/pipelines/<pipeline_id>/uploads")
@operation(
    schemas.Upload, status=201, query=schemas.UploadQuery, text=("application/octet-stream",), throttled=True
)
async def upload_working_tree(query: schemas.UploadQuery, pipeline_id: int) -> Response:
    """Upload a working tree, as the pack of a commit without parents, to start a build of it.

    The body is what `git pack-objects --revs --stdout` prints for the commit.
    """
    taking = services().triggers.uploads
    commit = await taking.checked(pipeline_id, query.commit)
    owner = actor().name or ""
    upload = await until_disconnect(taking.take(pipeline_id, commit, owner, requests.parts()))
    return json_response(representations.upload(upload), 201, {"Location": f"/pipelines/{pipeline_id}/jobs"})


@blueprint.post("/pipelines/<pipeline_id>/jobs")
@operation(schemas.Job, status=201, body=schemas.NewJob, throttled=True)
async def start_job(pipeline_id: int) -> Response:
    """Start a build of a pipeline. The optional body overrides the definition."""
    wanted = await requests.body(schemas.NewJob)
    if wanted.upload is not None:
        return await _start_uploaded(pipeline_id, wanted, wanted.upload)
    if not wanted.secrets:
        raise Invalid([Problem("secrets", "only the build of an upload can be started without its secrets")])
    job = await services().beginning.start(
        pipeline_id,
        requests.cause(),
        branch=wanted.branch,
        commit=wanted.commit,
        tag=wanted.tag,
        environment=wanted.environments,
    )
    return await job_answers.begun(job)


@blueprint.get("/pipelines/<pipeline_id>/jobs")
@operation(schemas.Jobs, query=query_schemas.JobPage, listed=True)
async def list_pipeline_jobs(page: query_schemas.JobPage, pipeline_id: int) -> Response:
    """List the builds of a pipeline, newest first."""
    await pipelines.existing(pipeline_id)
    filters = page.model_dump(include={"status", "branch"}, exclude_none=True)
    found = await job_lists.listed(
        before=page.before, limit=page.limit + 1, pipeline_id=pipeline_id, **filters
    )
    return await job_answers.listed(found, page)


async def _start_uploaded(pipeline_id: int, wanted: schemas.NewJob, upload_id: int) -> Response:
    for name in ("branch", "commit", "tag"):
        if getattr(wanted, name) is not None:
            raise Invalid([Problem(name, f"an upload is built as it is; leave out {name}")])
    upload = await services().triggers.uploads.existing(upload_id, pipeline_id, actor().name or "")
    job = await services().beginning.start_uploaded(
        upload, requests.cause(), environment=wanted.environments, untrusted=not wanted.secrets
    )
    return await job_answers.begun(job)


async def _submitted(model: type[P]) -> P:
    """The submitted pipeline; of YAML text alone just the text."""
    data = await requests.content()
    requests.check_encoding()
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
