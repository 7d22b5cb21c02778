"""Pipelines follow the definition files of their repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rapidflow_web.db import pipelines, repositories
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.triggers.definitions import FILE, FOLDER, DefinitionFile
from rapidflow_web.triggers.judging import Verdict


async def apply(
    repository: Repository,
    files: Sequence[DefinitionFile],
    verdicts: Sequence[Verdict] = (),
    *,
    whole: bool,
) -> Mapping[str, int]:
    """Makes and changes pipelines; for a transaction. Returns the ids of those with a valid file, by path.

    `whole` is for the head of the default branch: its definitions are those of the pipelines, and pipelines
    whose files it lost are hidden. Elsewhere only pipelines for new files are made.
    """
    known = await Pipeline.filter(repository_id=repository.id).order_by("id").select_related("definition")
    by_path = {pipeline.path: pipeline for pipeline in known}
    renamed = {
        verdict.file.path: verdict.pipeline_id
        for verdict in verdicts
        if verdict.file is not None and verdict.pipeline_id is not None
    }
    found: dict[str, int] = {}
    problems: list[dict[str, str]] = []
    for file in files:
        pipeline = by_path.get(file.path)
        pipeline_id = renamed.get(file.path) or (pipeline.id if pipeline is not None else None)
        if pipeline_id is None and file.parsed is not None:
            pipeline_id = _with_name(known, files, file)
        if file.parsed is None:
            problems.append({"path": file.path, "message": file.problem or ""})
            if whole and pipeline is not None:
                await Pipeline.filter(id=pipeline.id).update(problem=file.problem)
                found[file.path] = pipeline.id
        elif whole or pipeline is None or pipeline.deleted_at is not None:
            made = await pipelines.define(
                pipeline_id,
                repository_id=repository.id,
                path=file.path,
                problem=None,
                on_default_branch=whole,
                name=file.parsed.name,
                config=file.text,
            )
            found[file.path] = made.id
        else:
            found[file.path] = pipeline.id
    if whole:
        await repositories.update(repository.id, problems=problems)
        if not _is_about_all(files):
            stayed = set(found.values())
            gone = [one.id for one in known if one.on_default_branch and one.id not in stayed]
            await Pipeline.filter(id__in=gone, deleted_at__isnull=True).update(deleted_at=now_ms())
    return found


def _with_name(
    known: Sequence[Pipeline], files: Sequence[DefinitionFile], file: DefinitionFile
) -> int | None:
    """The pipeline whose file was renamed to this one: it has the name, and its own file is gone."""
    paths = {one.path for one in files}
    for pipeline in known:
        same = file.parsed is not None and pipeline.definition.name == file.parsed.name
        if same and pipeline.path not in paths and pipeline.deleted_at is None:
            return pipeline.id
    return None


def _is_about_all(files: Sequence[DefinitionFile]) -> bool:
    """Whether what is wrong says nothing of which definitions there are."""
    return any(file.parsed is None and not file.text and file.path in (FILE, FOLDER) for file in files)
