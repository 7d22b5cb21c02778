"""The form that starts a build: the variables of the definition with their values, and known branches."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rapidflow_web.builds import definitions
from rapidflow_web.db import branches as ref_names
from rapidflow_web.db import build_search, jobs
from rapidflow_web.db.models import Definition, Job, Pipeline
from rapidflow_web.errors import Invalid, NotFound, Problem
from rapidflow_web.pages import forms
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.pipeline.variables import HIDDEN

_PREFIX = "variable:"
"""Before the name of a variable with a field of its own, in the form."""
_MOST_BRANCHES = 500


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable with a field of its own: of the definition with its default, or with several lines."""

    key: str
    default: str | None
    value: str

    @property
    def is_long(self) -> bool:
        """Whether it takes several lines, which browsers take out of a field of one."""
        return not (_is_line(self.value) and _is_line(self.default or ""))


async def fields(
    pipeline: Pipeline,
    definition: ParsedPipeline | None,
    again: str = "",
    values: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the form has, with `values` in place of defaults, or to run the build `again` with changes.

    `definition` is what `parsed` makes of the pipeline's.
    """
    env: Mapping[str, str] = definition.env if definition is not None else {}
    form: dict[str, Any] = {}
    if (job := await _build_of(pipeline, again)) is not None:
        values, others, missing = dict[str, str](), "", list[str]()
        same = job.definition.id == pipeline.definition.id
        then = definition if same else await parsed(job.definition)
        for key, value in (await _ran_with(job, definition, then)).items():
            if "\r" in value and value != env.get(key):
                missing.append(key)  # forms send each end of a line as the same
            elif key in env or not _is_line(value):
                values[key] = value
            else:
                others += f"{key}={value}\n"
        form = {"again": job.id, **_source(pipeline, job), "environment": others, "missing": missing}
    values = values or {}
    more = [key for key in values if key not in env]
    form["variables"] = [
        *(Variable(key, default, values.get(key, default)) for key, default in env.items()),
        *(Variable(key, None, values[key]) for key in more),
    ]
    form["defaults"] = " ".join(f"{key}={_digest(default)}" for key, default in env.items())
    return form


def changed(form: Mapping[str, str]) -> dict[str, str]:
    """The values of fields that are not the defaults that the form showed.

    Where a form was left open, or another commit is built, the definition may have others by now.
    """
    shown = dict(part.split("=", 1) for part in form.get("defaults", "").split(" ") if "=" in part)
    given = {
        name.removeprefix(_PREFIX): forms.lines(value)
        for name, value in form.items()
        if name.startswith(_PREFIX)
    }
    return {key: value for key, value in given.items() if _digest(value) != shown.get(key)}


def variables(changed: Mapping[str, str], lines: str) -> dict[str, str]:
    """Those of the fields that were `changed`, and of lines like KEY=value. Raises `Invalid`."""
    more = _of_lines(lines)
    for key in more:
        if key in changed:
            raise Invalid([Problem("environment", f"'{key[:60]}' has a field above; leave its line out")])
    return {**changed, **more}


def _of_lines(text: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        key, separator, value = line.partition("=")
        if not separator:
            raise Invalid([Problem("environment", f"'{line[:60]}' is not KEY=value")])
        key = key.strip()
        if key in variables:
            raise Invalid([Problem("environment", f"'{key[:60]}' is there twice; leave one line out")])
        variables[key] = value
    return variables


def _digest(value: str) -> str:
    # As it comes back from a form.
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.blake2b(value.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _is_line(value: str) -> bool:
    return "\n" not in value and "\r" not in value


async def _build_of(pipeline: Pipeline, number: str) -> Job | None:
    """The build of a pipeline with this number, and with its definition; None where there is none."""
    with contextlib.suppress(NotFound):
        job_id = forms.number(number)
        job = await jobs.with_definition(job_id) if job_id is not None else None
        if job is not None and job.pipeline_id == pipeline.id:
            return job
    return None


async def _ran_with(job: Job, *definitions: ParsedPipeline | None) -> dict[str, str]:
    """The variables of a build, without those that are secret in one of the definitions."""
    secrets = {name for one in definitions if one is not None for name in one.secrets}
    ran_with = {one.key: one.value for one in await jobs.environment_of(job.id)}
    return {key: value for key, value in ran_with.items() if key not in secrets and value != HIDDEN}


def _source(pipeline: Pipeline, job: Job) -> dict[str, str]:
    """What the build is of, where that can be built again: the working tree of an upload can't."""
    if job.upload_id is not None:
        return {}
    if pipeline.path is None or job.branch is not None:
        return {"branch": job.branch or ""}
    if (job.ref or "").startswith("refs/tags/"):
        return {"what": "tag", "branch": (job.ref or "").removeprefix("refs/tags/")}
    return {"what": "commit", "branch": job.commit or ""}


async def branches(pipeline: Pipeline) -> list[str]:
    """Branches that may be meant: of recent builds, the newest first, and of the repository."""
    known = (await build_search.suggestions(_MOST_BRANCHES, pipeline.id)).branches
    if pipeline.repository_id is not None:
        known += await ref_names.names(pipeline.repository_id, _MOST_BRANCHES)
    return [*dict.fromkeys(known)][:_MOST_BRANCHES]


async def parsed(definition: Definition) -> ParsedPipeline | None:
    """What a definition says; None for one of an earlier version that is not valid any more."""
    try:
        return await definitions.stored(definition)
    except Invalid:
        return None
