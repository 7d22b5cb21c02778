"""Pipelines follow the definition files of their repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rapidflow_web.db import pipelines, repositories, users
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.triggers.definitions import DefinitionFile, matched
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
    whose files it lost are hidden. Elsewhere only pipelines for new files are made. The `verdicts` say which
    pipelines have renamed files; without any, the names do.
    """
    known = await pipelines.of_repository(repository.id)
    by_path = {pipeline.path: pipeline for pipeline in known}
    renamed = {
        verdict.file.path: verdict.pipeline_id
        for verdict in verdicts
        if verdict.file is not None and verdict.pipeline_id is not None
    }
    if whole and not verdicts:
        pairs, _ = matched([one for one in known if one.deleted_at is None], files)
        renamed = {file.path: pipeline.id for pipeline, file in pairs if file is not None}
    found: dict[str, int] = {}
    problems: list[dict[str, str]] = []
    for file in files:
        pipeline = by_path.get(file.path)
        pipeline_id = renamed.get(file.path) or (pipeline.id if pipeline is not None else None)
        if file.parsed is None:
            problems.append({"path": file.path, "message": file.problem or ""})
            if whole and pipeline is not None:
                await pipelines.note_problem(pipeline.id, file.problem)
                found[file.path] = pipeline.id
        elif not whole and pipeline is None and pipeline_id is not None:
            found[file.path] = pipeline_id  # another branch renames the file; the default branch counts
        elif whole or pipeline is None or pipeline.deleted_at is not None:
            made = await pipelines.define(
                pipeline_id,
                repository_id=repository.id,
                path=file.path,
                problem=None,
                on_default_branch=whole,
                name=file.parsed.name,
                config=file.text,
                labels=file.parsed.labels,
            )
            if pipeline_id is None:
                await _restrict_like(made.id, known)
            found[file.path] = made.id
        else:
            found[file.path] = pipeline.id
    if whole:
        await repositories.update(repository.id, problems=problems)
        if not any(file.of_all for file in files):
            stayed = set(found.values())
            gone = [one.id for one in known if one.on_default_branch and one.id not in stayed]
            await pipelines.hide(gone)
    return found


async def _restrict_like(pipeline_id: int, siblings: Sequence[Pipeline]) -> None:
    """Restricts a new pipeline where all others of its repository are, to those who may see all of them."""
    present = [one for one in siblings if one.deleted_at is None]
    if not present or not all(one.restricted for one in present):
        return
    names = set((await users.visibility(present[0].id))[1])
    for one in present[1:]:
        names &= set((await users.visibility(one.id))[1])
    await users.apply_visibility(pipeline_id, True, sorted(names))
