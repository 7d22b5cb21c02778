"""Two builds of a pipeline side by side: what changed between them."""

from __future__ import annotations

import asyncio
import difflib
import itertools
from collections import Counter
from dataclasses import dataclass

from quart import request

from rapidflow_web.builds import comparing
from rapidflow_web.db import job_steps, jobs
from rapidflow_web.db.models import Environment, Job, Step
from rapidflow_web.db.related_builds import streak
from rapidflow_web.errors import BadRequest, NotFound
from rapidflow_web.logs import difference
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.gate import client_key
from rapidflow_web.web.services import services
from rapidflow_web.web.templates import render

_MOST_LINES = 1_000
"""Lines of a definition that are compared: the time that takes grows with their square."""
_LONGEST_LINE = 500


@dataclass(frozen=True, slots=True)
class Change:
    """A variable that differs; None where a build has it not."""

    key: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Durations:
    """How long a step took in either build, in ms; None where it did not end or is not there."""

    name: str
    old: int | None
    new: int | None


@blueprint.get("/ui/jobs/<job_id>/compare")
async def show_comparison(job_id: int) -> str:
    """A build beside another one of its pipeline, by default the last of its branch that succeeded."""
    new = await jobs.with_definition(job_id)
    number = forms.number(request.args.get("with", ""))
    if number is None:
        found = await streak(new)
        number = found.last_good if found is not None else None
        if number is None:
            kept = f"no successful build of this {found.ref_kind if found is not None else 'branch'} before "
            raise NotFound(f"{kept}#{new.id} is kept; add ?with= and the number of a build")
    old = await jobs.with_definition(number)
    if old.pipeline_id != new.pipeline_id:
        raise BadRequest("builds of different pipelines can't be compared")
    compared = await services().comparing.compare(old, new, client_key())
    commits = compared.commits
    return await render(
        "comparison.html",
        old=old,
        new=new,
        commits=commits and commits[: comparing.MOST_COMMITS],
        more_commits=commits is not None and len(commits) > comparing.MOST_COMMITS,
        definition=await asyncio.to_thread(diff, old.definition.config, new.definition.config),
        changes=_changes(await jobs.environment_of(old.id), await jobs.environment_of(new.id)),
        durations=durations(await job_steps.of_job(old.id), await job_steps.of_job(new.id)),
        places=compared.places,
        log_problem=compared.problem,
        whole=max(old.log_size or 0, new.log_size or 0) <= difference.MOST,
        ended=old.log_size is not None and new.log_size is not None,
        facts=_facts(old, new),
    )


def diff(old: str, new: str) -> list[tuple[str, str]] | None:
    """The lines of a diff, each with its kind: "+", "-", "@" or " ". None where they are too many."""
    if old == new:
        return []
    lines = old.removesuffix("\n").split("\n"), new.removesuffix("\n").split("\n")
    if max(map(len, lines)) > _MOST_LINES:
        return None
    # The first two are the names of files, which are none.
    found = itertools.islice(difflib.unified_diff(*lines, lineterm="", n=2), 2, None)
    return [(line[:1] or " ", line[:_LONGEST_LINE]) for line in found]


def _changes(old: list[Environment], new: list[Environment]) -> list[Change]:
    before, after = ({one.key: one.value for one in variables} for variables in (old, new))
    keys = sorted({*before, *after})
    return [Change(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def durations(old: list[Step], new: list[Step]) -> list[Durations]:
    """How long the steps of two builds took."""
    before, after = _by_name(old), _by_name(new)
    return [Durations(key[0], before.get(key), after.get(key)) for key in {**after, **before}]


def _by_name(steps: list[Step]) -> dict[tuple[str, int], int | None]:
    """How long steps took, by name and by which one of that name it is."""
    met = Counter[str]()
    found: dict[tuple[str, int], int | None] = {}
    for step in steps:
        name = step.name or step.content
        found[name, met[name]] = _took(step)
        met[name] += 1
    return found


def _took(step: Step) -> int | None:
    if step.started_at is None or step.finished_at is None:
        return None
    return max(0, step.finished_at - step.started_at)


def _facts(old: Job, new: Job) -> list[Change]:
    """What else differs."""
    found: list[Change] = []
    for label, name in (("Image", "image"), ("Branch", "branch"), ("Folder", "folder")):
        if getattr(old, name) != getattr(new, name):
            found.append(Change(label, getattr(old, name), getattr(new, name)))
    return found
