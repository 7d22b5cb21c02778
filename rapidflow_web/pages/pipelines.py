"""Pages of pipelines: adding, editing, starting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from quart import Response, current_app, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.accounts.roles import Role
from rapidflow_web.db import build_lists, pipelines, repositories, users
from rapidflow_web.db.jobs import STATUSES
from rapidflow_web.db.models import Pipeline
from rapidflow_web.errors import Conflict, Invalid, Problem, TooManyRequests
from rapidflow_web.pages import charts, forms, named_secrets
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.gate import may
from rapidflow_web.web.pipelines import store_pipeline
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.requests import cause, started_by
from rapidflow_web.web.services import services
from rapidflow_web.web.templates import render

_BUILDS = 50
_CHART = 60
_FEW = 20
_SOURCES = ("branch", "tag", "commit")
"""What can be built of a repository."""
_EXAMPLE = """\
name: My project
repo_name: https://example.com/user/repo
steps:
  - name: test
    content: make test
  - name: build
    content: make
"""


@blueprint.get("/ui/pipelines/new")
async def show_new_pipeline() -> Response:
    """The form to add a pipeline."""
    return await _new_pipeline_page(_EXAMPLE)


@blueprint.post("/ui/pipelines")
async def add_pipeline() -> Response | WerkzeugResponse:
    """Stores the submitted pipeline, or shows what is wrong with it."""
    form = await forms.fields()
    config = forms.lines(form.get("config", ""))
    restricted = forms.one_of(form.get("seen_by", "all"), ("all", "some"), "seen_by") == "some"
    seen_by = await forms.chosen("users") if restricted else None
    try:
        pipeline = await store_pipeline(config, None, by=started_by("web"), seen_by=seen_by)
    except Invalid as error:
        return await _new_pipeline_page(config, seen_by, error.problems)
    if form.get("then") != "start":
        return redirect(f"/ui/pipelines/{pipeline.id}", 303)
    try:
        job = await services().beginning.start(pipeline.id, cause("web"))
    except (Invalid, TooManyRequests) as error:
        return await pipeline_page(pipeline, error.status, start_problems=_problems(error))
    return redirect(f"/ui/jobs/{job.id}", 303)


async def _new_pipeline_page(
    config: str, seen_by: Sequence[str] | None = None, problems: Sequence[Problem] = ()
) -> Response:
    everyone = await users.listed()
    page = await render(
        "new_pipeline.html",
        config=config,
        problems=problems,
        users=everyone,
        restricted=seen_by is not None,
        visible_to=seen_by or (),
    )
    return Response(page, 422 if problems else 200)


def _problems(error: Invalid | TooManyRequests) -> Sequence[Problem]:
    return error.problems if isinstance(error, Invalid) else [Problem("", str(error))]


@blueprint.get("/ui/pipelines/<pipeline_id>")
async def show_pipeline(pipeline_id: int) -> Response:
    """A pipeline with its builds."""
    return await pipeline_page(await pipelines.existing(pipeline_id))


@blueprint.post("/ui/pipelines/<pipeline_id>")
async def edit_pipeline(pipeline_id: int) -> Response | WerkzeugResponse:
    """Stores the submitted definition, or shows what is wrong with it."""
    pipeline = await pipelines.existing(pipeline_id)
    config = forms.lines((await forms.fields()).get("config", ""))
    try:
        await services().builds.change(pipeline.id, config, by=started_by("web"))
    except Invalid as error:
        return await pipeline_page(pipeline, 422, config=config, problems=error.problems)
    return redirect(f"/ui/pipelines/{pipeline.id}", 303)


@blueprint.post("/ui/pipelines/check")
async def check_pipeline() -> Response:
    """What is wrong with a definition that is being typed."""
    problems: tuple[Problem, ...] = ()
    try:
        services().builds.parse(forms.lines((await forms.fields()).get("config", "")))
    except Invalid as error:
        problems = error.problems
    return Response(await render("_problems.html", problems=problems, checked=True))


@blueprint.post("/ui/pipelines/<pipeline_id>/delete")
async def delete_pipeline(pipeline_id: int) -> WerkzeugResponse:
    """Deletes a pipeline; its builds stay."""
    pipeline = await pipelines.existing(pipeline_id)
    if pipeline.path is not None:
        raise Conflict(
            f"this pipeline is defined by {pipeline.path} in its repository; remove the file there"
        )
    await pipelines.delete(pipeline.id)
    return redirect("/", 303)


@blueprint.post("/ui/pipelines/<pipeline_id>/jobs")
async def start_build(pipeline_id: int) -> Response | WerkzeugResponse:
    """Starts a build, or shows why it can't be."""
    pipeline = await pipelines.existing(pipeline_id)
    form = await forms.fields()
    branch, environment = form.get("branch", "").strip(), forms.lines(form.get("environment", ""))
    what = form.get("what", _SOURCES[0])
    try:
        source = {forms.one_of(what, _SOURCES, "what"): branch} if branch else {}
        job = await services().beginning.start(
            pipeline.id,
            cause("web"),
            **source,
            environment=_variables(environment),
        )
    except (Invalid, TooManyRequests) as error:
        return await pipeline_page(
            pipeline,
            error.status,
            what=what,
            branch=branch,
            environment=environment,
            start_problems=_problems(error),
        )
    return redirect(f"/ui/jobs/{job.id}", 303)


async def pipeline_page(pipeline: Pipeline, status: int = 200, **typed: Any) -> Response:
    """The page of a pipeline, with what was `typed` into its forms and what is wrong with that."""
    filters = _filters()
    found = await build_lists.newest(
        _BUILDS + 1,
        pipeline_id=pipeline.id,
        statuses=[filters["status"]] if filters["status"] else [],
        branch=filters["branch"] or None,
        before=int(filters["before"]) if filters["before"] else None,
    )
    bars = (await build_lists.bars_of_each([pipeline.id], _CHART))[pipeline.id]
    numbers = charts.statistics(bars)
    shown: dict[str, Any] = {
        "config": pipeline.definition.config,
        "secret_name": request.args.get("secret", ""),
        "repository": await repositories.of_pipeline(pipeline.id) if pipeline.path is not None else None,
        "sources": _SOURCES,
    }
    if may(Role.ADMIN):
        everyone = await users.listed()
        shown |= {
            "visible_to": (await users.visibility(pipeline.id))[1] if everyone else [],
            "users": everyone,
            "secrets": await named_secrets.of_pipeline(pipeline),
        }
    page = await render(
        "pipeline.html",
        pipeline=pipeline,
        builds=found[:_BUILDS],
        older=urlencode({**filters, "before": found[_BUILDS - 1].id}) if len(found) > _BUILDS else None,
        filters=filters,
        statuses=STATUSES,
        chart=charts.drawing(
            bars, "Durations of the last builds", max(_FEW, len(bars)), prefix=prefix_of(current_app)
        )
        if bars
        else None,
        charted=len(bars),
        longest=max((bar.duration or 0 for bar in bars), default=0),
        numbers=numbers,
        **shown | typed,
    )
    return Response(page, status)


def _filters() -> dict[str, str]:
    """What of the history is asked for; what can't be is left out."""
    status, before = request.args.get("status", ""), request.args.get("before", "")
    return {
        "status": status if status in STATUSES else "",
        "branch": request.args.get("branch", "").strip().replace("\0", ""),
        "before": before if before.isascii() and before.isdigit() and len(before) < 19 else "",
    }


def _variables(text: str) -> dict[str, str]:
    """Variables out of lines like KEY=value. Raises `Invalid`."""
    variables: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        key, separator, value = line.partition("=")
        if not separator:
            raise Invalid([Problem("environment", f"'{line[:60]}' is not KEY=value")])
        variables[key.strip()] = value
    return variables
