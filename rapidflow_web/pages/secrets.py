"""Secrets, for administrators. Values are typed here and never shown again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quart import Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import jobs, pipelines
from rapidflow_web.db.models import Definition
from rapidflow_web.db.secrets import EVERYWHERE
from rapidflow_web.errors import Invalid, NotFound, Problem, RequestError
from rapidflow_web.pages import forms, named_secrets, start_forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.pipelines import pipeline_page
from rapidflow_web.secrets import vault
from rapidflow_web.web.gate import audit_part, audit_subject
from rapidflow_web.web.requests import cause, started_by
from rapidflow_web.web.services import services

_PREFIX = "secret:"
"""Before the name of a secret that has a field of its own, in the form."""
_DONE = {"set": "The secret is stored.", "removed": "The secret is removed."}


@blueprint.get("/ui/secrets")
async def show_secrets() -> Response:
    """The secrets that any pipeline may name."""
    return await _page(
        secret_name=request.args.get("secret", ""), done=_DONE.get(request.args.get("done", ""))
    )


@blueprint.post("/ui/secrets")
async def set_secret() -> Response | WerkzeugResponse:
    """Stores a secret of all pipelines, or says why not."""
    try:
        await _store(EVERYWHERE)
    except RequestError as error:
        return await _page(error.status, secret_name=await _name(), secret_problem=str(error))
    return redirect("/ui/secrets?done=set", 303)


@blueprint.post("/ui/secrets/remove")
async def remove_secret() -> WerkzeugResponse:
    """Removes a secret of all pipelines."""
    await _remove(EVERYWHERE)
    return redirect("/ui/secrets?done=removed", 303)


@blueprint.post("/ui/pipelines/<pipeline_id>/secrets")
async def set_pipeline_secret(pipeline_id: int) -> Response | WerkzeugResponse:
    """Stores a secret of a pipeline, or says why not."""
    pipeline = await pipelines.existing(pipeline_id)
    try:
        await _store(pipeline.id)
    except RequestError as error:
        return await pipeline_page(
            pipeline, error.status, secret_name=await _name(), secret_problem=str(error)
        )
    return redirect(f"/ui/pipelines/{pipeline.id}#secrets", 303)


@blueprint.post("/ui/pipelines/<pipeline_id>/secrets/remove")
async def remove_pipeline_secret(pipeline_id: int) -> WerkzeugResponse:
    """Removes a secret of a pipeline."""
    pipeline = await pipelines.existing(pipeline_id)
    await _remove(pipeline.id)
    return redirect(f"/ui/pipelines/{pipeline.id}#secrets", 303)


@blueprint.post("/ui/pipelines/<pipeline_id>/secrets/missing")
async def set_missing_secrets(pipeline_id: int) -> Response | WerkzeugResponse:
    """Stores the secrets of a pipeline that were typed, and says which where not all; may retry the build."""
    pipeline = await pipelines.existing(pipeline_id)
    form = await forms.fields()
    definitions = [pipeline.definition]
    typed = {
        name.removeprefix(_PREFIX): _value(value)
        for name, value in form.items()
        if name.startswith(_PREFIX) and value
    }
    job_id = forms.number(form.get("job", ""))
    if job_id is not None:
        job = await jobs.with_definition(job_id)
        if job.pipeline_id != pipeline.id:
            raise NotFound(f"there is no build {job_id} of this pipeline")
        definitions.append(job.definition)
    stored: list[str] = []
    failed = "nothing was stored"
    try:
        await _check(typed, definitions)
        for name, value in typed.items():
            failed = f"the secret {name} could not be stored"
            await services().secrets.put(pipeline.id, name, value, started_by("web"))
            stored.append(name)
            await audit_part("pages.set_pipeline_secret", f"/ui/pipelines/{pipeline.id}/secrets ({name})")
        if job_id is not None and form.get("then") == "retry":
            failed = f"build {job_id} could not be retried"
            retried = await services().beginning.retry(job_id, cause("web"))
            await audit_part("pages.retry_job", f"/ui/jobs/{job_id}/retry")
            job_id = retried.id
    except RequestError as error:
        done = f"stored: {', '.join(stored)}. {failed[0].upper()}{failed[1:]}" if stored else failed
        return await pipeline_page(pipeline, error.status, secret_problem=f"{done}: {error}")
    return redirect(
        f"/ui/jobs/{job_id}" if job_id is not None else f"/ui/pipelines/{pipeline.id}#secrets", 303
    )


async def _check(typed: Mapping[str, str], definitions: Sequence[Definition]) -> None:
    """Raises `Invalid` where one of the secrets can't be stored, or none of the definitions names it."""
    named: set[str] = set()
    for definition in definitions:
        parsed = await start_forms.parsed(definition)
        named.update(parsed.combined.secrets if parsed is not None else ())
    for name, value in typed.items():
        if name not in named:
            raise Invalid([Problem("name", f"the definition names no secret '{name[:60]}'")])
        try:
            vault.check(name, value)
        except Invalid as error:
            raise Invalid([Problem(name, f"{name}: {error}")]) from None


async def _name() -> str:
    return (await forms.fields()).get("name", "").strip()


async def _store(scope: int) -> None:
    name = await _name()
    value = _value((await forms.fields()).get("value", ""))
    await services().secrets.put(scope, name, value, started_by("web"))
    audit_subject(name)  # not before: what is no name may be a value in the wrong field


def _value(typed: str) -> str:
    # What was pasted ends as its last line did, which is no part of it; the command does the same.
    return forms.lines(typed).removesuffix("\n")


async def _remove(scope: int) -> None:
    name = await _name()
    await services().secrets.remove(scope, name)
    audit_subject(name)


async def _page(status: int = 200, **values: Any) -> Response:
    found = await named_secrets.of_all_pipelines()
    return await forms.page("secrets.html", status, secrets=found, **values)
