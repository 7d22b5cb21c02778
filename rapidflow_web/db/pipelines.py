"""Queries on pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tortoise.transactions import in_transaction

from rapidflow_web.db import users
from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.labels import stored as stored_labels
from rapidflow_web.db.models import Definition, Job, Pipeline
from rapidflow_web.db.sql import rows
from rapidflow_web.db.visibility import current
from rapidflow_web.errors import NotFound


@uncancelled
async def create(
    name: str, config: str, seen_by: Sequence[str] | None = None, labels: Sequence[str] = ()
) -> Pipeline:
    """Stores a pipeline, which from the first moment only administrators see and the users in `seen_by`.

    None lets everyone see it. Raises `users.NoSuchUser`.
    """
    async with in_transaction():
        definition = await Definition.create(name=name, config=config)
        now = now_ms()
        pipeline = await Pipeline.create(
            definition=definition, created_at=now, updated_at=now, labels=stored_labels(labels)
        )
        if seen_by is not None:
            await users.apply_visibility(pipeline.id, True, seen_by)
            pipeline.restricted = True
        return pipeline


@uncancelled
async def update(pipeline_id: int, name: str, config: str, labels: Sequence[str] = ()) -> None:
    """Gives a pipeline a new definition; jobs keep the one that they ran with."""
    async with in_transaction():
        definition = await Definition.create(name=name, config=config)
        changed = {"definition_id": definition.id, "labels": stored_labels(labels), "updated_at": now_ms()}
        await Pipeline.filter(id=pipeline_id).update(**changed)


async def of_repository(repository_id: int) -> list[Pipeline]:
    """The pipelines of a repository with their definitions, also hidden ones, oldest first."""
    return await Pipeline.filter(repository_id=repository_id).order_by("id").select_related("definition")


async def note_problem(pipeline_id: int, problem: str | None) -> None:
    """Notes why the file of a pipeline can't be read; for a transaction."""
    await Pipeline.filter(id=pipeline_id).update(problem=problem)


async def hide(pipeline_ids: Sequence[int]) -> None:
    """Hides pipelines whose files are gone; for a transaction."""
    await Pipeline.filter(id__in=list(pipeline_ids), deleted_at__isnull=True).update(deleted_at=now_ms())


async def define(pipeline_id: int | None, **fields: Any) -> Pipeline:
    """Makes a pipeline of a definition file, or changes it; for a transaction. A hidden one is back then.

    `fields` are the columns `repository_id`, `path` and `problem`, and of the definition `name`, `config` and
    `labels`.
    """
    fields["labels"] = stored_labels(fields.get("labels", ()))
    name, config, now = fields.pop("name"), fields.pop("config"), now_ms()
    pipeline = None
    if pipeline_id is not None:
        pipeline = await Pipeline.get(id=pipeline_id).select_related("definition")
    if pipeline is None or (pipeline.definition.name, pipeline.definition.config) != (name, config):
        definition = await Definition.create(name=name, config=config)
        fields |= {"definition_id": definition.id, "updated_at": now}
    if pipeline is None:
        return await Pipeline.create(created_at=now, **fields)
    await Pipeline.filter(id=pipeline.id).update(deleted_at=None, **fields)
    return await Pipeline.get(id=pipeline.id).select_related("definition")


@uncancelled
async def definition_for(pipeline_id: int, name: str, config: str) -> int:
    """The id of a definition with this text: the pipeline's own, that of a late build of it, or a new one."""
    pipeline = await Pipeline.get(id=pipeline_id).select_related("definition")
    late = await Job.filter(pipeline_id=pipeline_id).order_by("-id").limit(10).select_related("definition")
    for definition in (pipeline.definition, *(job.definition for job in late)):
        if (definition.name, definition.config) == (name, config):
            return definition.id
    return (await Definition.create(name=name, config=config)).id


@uncancelled
async def stored_for(url: str) -> list[Pipeline]:
    """The pipelines whose text is stored on the server and has this clone URL; the oldest first."""
    # The URL is part of the text; who asks parses it.
    query = Pipeline.filter(repository_id__isnull=True, deleted_at__isnull=True)
    return await query.filter(definition__config__contains=url).order_by("id").select_related("definition")


@uncancelled
async def delete(pipeline_id: int) -> None:
    """Hides a pipeline; its jobs stay."""
    await Pipeline.filter(id=pipeline_id).update(deleted_at=now_ms())


@uncancelled
async def get(pipeline_id: int, *, also_deleted: bool = False) -> Pipeline | None:
    """The pipeline with its definition; None if there is none or it was deleted."""
    if not current().shows(pipeline_id):
        return None
    found = await Pipeline.get_or_none(id=pipeline_id).select_related("definition")
    return found if found is None or also_deleted or found.deleted_at is None else None


async def existing(pipeline_id: int, *, also_deleted: bool = False) -> Pipeline:
    """The pipeline with its definition. Raises `NotFound`."""
    pipeline = await get(pipeline_id, also_deleted=also_deleted)
    if pipeline is None:
        raise NotFound(f"there is no pipeline {pipeline_id}")
    return pipeline


@uncancelled
async def listed(*, name: str | None = None, before: int | None = None, limit: int = 50) -> list[Pipeline]:
    """Up to `limit` pipelines with their definitions, newest first, with ids below `before`."""
    query = Pipeline.filter(deleted_at__isnull=True, **current().filters("id"))
    if name is not None:
        query = query.filter(definition__name=name)
    if before is not None:
        query = query.filter(id__lt=before)
    return await query.order_by("-id").limit(limit).select_related("definition")


@uncancelled
async def names(limit: int) -> list[str]:
    """Names of up to `limit` pipelines that may be seen, the newest first."""
    seen = "".join(f" AND {condition}" for condition in current().conditions("pipeline.id"))
    found = await rows(
        "SELECT definition.name FROM pipeline JOIN definition ON definition.id = pipeline.definition_id "  # noqa: S608
        f"WHERE pipeline.deleted_at IS NULL{seen} ORDER BY pipeline.id DESC LIMIT {int(limit)}"
    )
    return [row[0] for row in found]


@uncancelled
async def definitions_with_passwords() -> list[tuple[int, str]]:
    """Ids and texts of definitions in which there may be a URL with a password, newest first."""
    found = await rows(
        "SELECT id, config FROM definition WHERE config LIKE ?1 OR config LIKE ?2 ESCAPE '!' "
        "ORDER BY id DESC",
        ["%://%@%", "%:\\/\\/%@%"],  # as it is, and as in JSON that escapes slashes
    )
    return [(row[0], row[1]) for row in found]


@uncancelled
async def of_definition(definition_id: int) -> list[int]:
    """The pipelines that have a definition, or ran with it."""
    found = await rows(
        "SELECT id FROM pipeline WHERE definition_id = ?1 "
        "UNION SELECT pipeline_id FROM job WHERE definition_id = ?1 ORDER BY 1",
        [definition_id],
    )
    return [row[0] for row in found]


@uncancelled
async def rewrite_definition(definition_id: int, config: str, repo_name: str) -> None:
    """Gives a definition another text with the same meaning, and the jobs that ran with it its clone URL."""
    async with in_transaction():
        await Job.filter(definition_id=definition_id).update(repo_name=repo_name)
        await Definition.filter(id=definition_id).update(config=config)


@uncancelled
async def name_of(pipeline_id: int) -> str:
    """The name of a pipeline, also of one that is hidden."""
    pipeline = await Pipeline.get(id=pipeline_id).select_related("definition")
    return pipeline.definition.name


@uncancelled
async def names_of(pipeline_ids: Sequence[int]) -> dict[int, str]:
    """The names of pipelines, also of those that are hidden."""
    query = Pipeline.filter(id__in=list(pipeline_ids)).select_related("definition")
    return {pipeline.id: pipeline.definition.name for pipeline in await query}
