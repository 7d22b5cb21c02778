"""Secrets, for administrators. Values are typed here and never shown again."""

from __future__ import annotations

from typing import Any

from quart import Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import pipelines
from rapidflow_web.db.secrets import EVERYWHERE
from rapidflow_web.errors import RequestError
from rapidflow_web.pages import forms, named_secrets
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.pipelines import pipeline_page
from rapidflow_web.web.gate import audit_subject
from rapidflow_web.web.requests import started_by
from rapidflow_web.web.services import services

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


async def _name() -> str:
    return (await forms.fields()).get("name", "").strip()


async def _store(scope: int) -> None:
    name = await _name()
    # A value that was pasted ends as its last line did, which is no part of it; the command does the same.
    value = forms.lines((await forms.fields()).get("value", "")).removesuffix("\n")
    await services().secrets.put(scope, name, value, started_by("web"))
    audit_subject(name)  # not before: what is no name may be a value in the wrong field


async def _remove(scope: int) -> None:
    name = await _name()
    await services().secrets.remove(scope, name)
    audit_subject(name)


async def _page(status: int = 200, **values: Any) -> Response:
    found = await named_secrets.of_all_pipelines()
    return await forms.page("secrets.html", status, secrets=found, **values)
