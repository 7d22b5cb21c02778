"""Routes of repositories and their events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quart import Blueprint, Response

from rapidflow_web.api import repository_representations as representations
from rapidflow_web.api import repository_schemas as schemas
from rapidflow_web.api.lists import list_response
from rapidflow_web.api.openapi import operation
from rapidflow_web.api.output import encoded
from rapidflow_web.api.schemas import Message
from rapidflow_web.db import deliveries, events, repositories
from rapidflow_web.db.trigger_models import Event, Repository
from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.web import requests
from rapidflow_web.web.gate import audit_subject
from rapidflow_web.web.repositories import hook_url, poll_seconds
from rapidflow_web.web.responses import encoded_response, json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("repositories", __name__)


@blueprint.post("/repositories")
@operation(schemas.AddedRepository, status=201, body=schemas.NewRepository, conflict=True)
async def add_repository() -> Response:
    """Add a repository, and make a pipeline of each definition file of its default branch. Builds nothing."""
    wanted = await requests.body(schemas.NewRepository)
    added = await services().triggers.repositories.add(
        wanted.url, wanted.forge, wanted.token, requests.started_by()
    )
    row = added.repository
    audit_subject(row.url)
    body = representations.repository(row, added.pipelines, row.problems, hook_url(row), added.hook_secret)
    return json_response(body, 201, {"Location": f"/repositories/{row.id}"})


@blueprint.get("/repositories")
@operation(schemas.Repositories, query=schemas.RepositoryPage, listed=True)
async def list_repositories(page: schemas.RepositoryPage) -> Response:
    """List the repositories, newest first."""
    found = await repositories.listed(before=page.before, limit=page.limit + 1)
    pipelines = await repositories.visible_pipelines_of([row.id for row in found])
    problems = await repositories.visible_problems_of(found)
    return list_response(
        found,
        page,
        lambda row: representations.repository(row, pipelines[row.id], problems[row.id], hook_url(row)),
    )


@blueprint.get("/repositories/<repository_id>")
@operation(schemas.Repository)
async def get_repository(repository_id: int) -> Response:
    """Get a repository."""
    return await _answer(await repositories.existing(repository_id))


@blueprint.put("/repositories/<repository_id>")
@operation(schemas.Repository, body=schemas.ChangedRepository)
async def change_repository(repository_id: int) -> Response:
    """Update the poll interval, forge, token, secrets or fork policy."""
    await repositories.existing(repository_id)
    wanted = (await requests.body(schemas.ChangedRepository)).model_dump(exclude_unset=True)
    if nothing := [name for name, value in wanted.items() if value is None]:
        raise Invalid([Problem(nothing[0], f"{nothing[0]} can't be null; omit it to keep the current value")])
    if "poll" in wanted:
        wanted["poll"] = poll_seconds(wanted["poll"])
    changed = await services().triggers.repositories.change(repository_id, requests.started_by(), **wanted)
    return await _answer(changed)


@blueprint.delete("/repositories/<repository_id>")
@operation(Message)
async def delete_repository(repository_id: int) -> Response:
    """Remove a repository, and hide its pipelines. Their builds stay."""
    audit_subject((await repositories.existing(repository_id)).url)
    left = await services().triggers.repositories.remove(repository_id)
    return json_response({"message": left or "repository deleted successfully"})


@blueprint.post("/repositories/<repository_id>/connect")
@operation(Message)
async def connect_repository(repository_id: int) -> Response:
    """Make the webhook at the forge, with the token that is stored."""
    repository = await repositories.existing(repository_id)
    said = await services().triggers.repositories.connect(repository_id, hook_url(repository))
    return json_response({"message": said})


@blueprint.post("/repositories/<repository_id>/secret")
@operation(schemas.HookSecret, conflict=True)
async def renew_hook_secret(repository_id: int) -> Response:
    """Make a new secret for the webhook. The old one stays valid for 24 hours, or until the next is made."""
    repository = await repositories.existing(repository_id)
    secret = await services().triggers.repositories.new_secret(repository, requests.started_by())
    return json_response({"hook_secret": secret})


@blueprint.post("/repositories/<repository_id>/poll")
@operation(schemas.Repository)
async def poll_repository(repository_id: int) -> Response:
    """Poll the repository now and build what has changed."""
    return await _answer(await services().triggers.repositories.poll(repository_id))


@blueprint.get("/repositories/<repository_id>/events")
@operation(schemas.Events, query=schemas.RepositoryPage, listed=True)
async def list_events(page: schemas.RepositoryPage, repository_id: int) -> Response:
    """List events with the decision for each pipeline, newest first."""
    await repositories.existing(repository_id)
    found = await events.listed(repository_id, before=page.before, limit=page.limit + 1)
    rendered = {event["id"]: event for event in await rendered_events(found)}
    return list_response(found, page, lambda row: rendered[row.id])


@blueprint.get("/repositories/<repository_id>/deliveries")
@operation(schemas.Deliveries, query=schemas.RepositoryPage, listed=True)
async def list_deliveries(page: schemas.RepositoryPage, repository_id: int) -> Response:
    """List the deliveries to a repository, newest first."""
    await repositories.existing(repository_id)
    found = await deliveries.listed(repository_id, before=page.before, limit=page.limit + 1)
    return list_response(found, page, representations.delivery_summary)


@blueprint.get("/deliveries/<delivery_id>")
@operation(schemas.Delivery)
async def get_delivery(delivery_id: int) -> Response:
    """Get a delivery with its headers, its body and what it led to."""
    found = await deliveries.existing(delivery_id)
    made = await rendered_events(await events.of_delivery(delivery_id))
    body = await encoded(representations.delivery(found, made))
    return encoded_response(body if isinstance(body, bytes) else b"".join([piece async for piece in body]))


@blueprint.post("/deliveries/<delivery_id>/replay")
@operation(
    schemas.Replayed, status=202, query=schemas.ReplayQuery, other={200: "With `dry_run`: what would happen."}
)
async def replay_delivery(query: schemas.ReplayQuery, delivery_id: int) -> Response:
    """Replay a delivery and start the resulting builds. With `dry_run`, only say what would happen."""
    if query.dry_run:
        foreseen = await services().triggers.foresee(delivery_id)
        return json_response(
            {"delivery": None, "events": [representations.foreseen(one) for one in foreseen]}
        )
    made = await services().triggers.hooks.replay(delivery_id)
    return json_response({"delivery": made.id, "events": []}, 202)


@blueprint.get("/pipelines/<pipeline_id>/explain")
@operation(schemas.Explanations, query=schemas.ExplainQuery)
async def explain(query: schemas.ExplainQuery, pipeline_id: int) -> Response:
    """Say why a ref or a commit was built by a pipeline or not."""
    found = await services().triggers.explain(pipeline_id, query.ref, query.commit)
    return json_response([representations.explanation(one) for one in found])


async def _answer(repository: Repository) -> Response:
    pipelines = (await repositories.visible_pipelines_of([repository.id]))[repository.id]
    problems = (await repositories.visible_problems_of([repository]))[repository.id]
    return json_response(representations.repository(repository, pipelines, problems, hook_url(repository)))


async def rendered_events(found: Sequence[Event]) -> list[dict[str, Any]]:
    """Events with their decisions."""
    decisions = await events.decisions_on([event.id for event in found])
    return [representations.event(event, decisions[event.id]) for event in found]
