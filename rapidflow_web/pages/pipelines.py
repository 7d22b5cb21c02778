"""Pages of pipelines: adding, editing, starting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from quart import Response, current_app, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.accounts.roles import Role
from rapidflow_web.db import build_lists, build_search, parts, pipelines, repositories, users
from rapidflow_web.db.jobs import STATUSES
from rapidflow_web.db.models import Pipeline
from rapidflow_web.errors import Conflict, Invalid, Problem, TooManyRequests
from rapidflow_web.pages import charts, examples, forms, named_secrets, start_forms
from rapidflow_web.pages.blueprint import blueprint, fragment
from rapidflow_web.pipeline import language
from rapidflow_web.web import pipelines as changes
from rapidflow_web.web.gate import may
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.requests import cause, started_by
from rapidflow_web.web.response_cache import cacheable
from rapidflow_web.web.services import services
from rapidflow_web.web.templates import render

_BUILDS = 50
_CHART = 60
_FEW = 20
_SOURCES = ("branch", "tag", "commit")
"""What can be built of a repository."""
_DONE = {
    "added": "Saved. Start a build to try it.",
    "saved": "Saved. Builds use it from now on.",
    "password": "Saved. Builds use it from now on. The password of the clone URL is stored separately.",
    "same": "Nothing changed.",
}
"""What is said of a definition that was sent."""
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
    """The form to add a pipeline, with an example to begin with."""
    name = request.args.get("example", "")
    chosen = next((one for one in examples.every() if one.name == name), None)
    return await _new_pipeline_page(chosen.text if chosen is not None else _EXAMPLE)


@blueprint.post("/ui/pipelines")
async def add_pipeline() -> Response | WerkzeugResponse:
    """Stores the submitted pipeline, or shows what is wrong with it."""
    form = await forms.fields()
    config = forms.lines(form.get("config", ""))
    restricted = forms.one_of(form.get("seen_by", "all"), ("all", "some"), "seen_by") == "some"
    seen_by = await forms.chosen("users") if restricted else None
    try:
        pipeline = await changes.store_pipeline(config, None, by=started_by("web"), seen_by=seen_by)
    except Invalid as error:
        return await _new_pipeline_page(config, seen_by, error.problems)
    if form.get("then") != "start":
        return redirect(f"/ui/pipelines/{pipeline.id}?done=added", 303)
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
        language=language.as_json(),
        examples=examples.every(),
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
    """A pipeline with its builds; with `from` its form has what that build ran with."""
    cacheable()
    pipeline = await pipelines.existing(pipeline_id)
    return await pipeline_page(pipeline, again=request.args.get("from", ""))


@blueprint.get("/ui/pipelines/<pipeline_id>/builds")
async def show_builds_of_pipeline(pipeline_id: int) -> Response:
    """The part of a pipeline's page that changes with its builds."""
    cacheable()
    pipeline = await pipelines.existing(pipeline_id)
    return await fragment("_pipeline_builds.html", pipeline=pipeline, **await _builds(pipeline))


@blueprint.post("/ui/pipelines/<pipeline_id>")
async def edit_pipeline(pipeline_id: int) -> Response | WerkzeugResponse:
    """Stores the submitted definition, or shows what is wrong with it."""
    form = await forms.fields()
    pipeline = await pipelines.existing(pipeline_id)
    config = forms.lines(form.get("config", ""))
    present = pipeline.definition
    if form.get("edited", str(present.id)) != str(present.id) and config != present.config:
        # Somebody else saved meanwhile: this would undo it unseen.
        return await pipeline_page(pipeline, 409, config=config, overtaken=True)
    try:
        changed = await services().builds.change(pipeline.id, config, by=started_by("web"))
    except Invalid as error:
        return await pipeline_page(pipeline, 422, config=config, problems=error.problems)
    done = "same" if changed.definition.config == present.config else "saved"
    if changed.definition.config != config:
        done = "password"
    return redirect(f"/ui/pipelines/{pipeline.id}?done={done}", 303)


@blueprint.post("/ui/pipelines/check")
async def check_pipeline() -> Response:
    """What is wrong with a definition that is being typed."""
    problems: tuple[Problem, ...] = ()
    config = forms.lines((await forms.fields()).get("config", ""))
    try:
        await services().builds.parse(config)
    except Invalid as error:
        problems = error.problems
    return Response(await render("_problems.html", problems=problems, checked=True))


@blueprint.post("/ui/pipelines/<pipeline_id>/delete")
async def delete_pipeline(pipeline_id: int) -> WerkzeugResponse:
    """Deletes a pipeline; its builds stay."""
    pipeline = await pipelines.existing(pipeline_id)
    if pipeline.path is not None and pipeline.on_default_branch:
        raise Conflict(
            f"this pipeline is defined by {pipeline.path} in its repository; remove the file there"
        )
    await changes.delete_pipeline(pipeline)
    return redirect("/ui/pipelines?done=deleted", 303)


@blueprint.post("/ui/pipelines/<pipeline_id>/jobs")
async def start_build(pipeline_id: int) -> Response | WerkzeugResponse:
    """Starts a build, or shows why it can't be."""
    pipeline = await pipelines.existing(pipeline_id)
    form = await forms.fields()
    branch, environment = form.get("branch", "").strip(), forms.lines(form.get("environment", ""))
    what = form.get("what", _SOURCES[0])
    changed = start_forms.changed(form)
    try:
        source = {forms.one_of(what, _SOURCES, "what"): branch} if branch else {}
        job = await services().beginning.start(
            pipeline.id,
            cause("web"),
            **source,
            environment=start_forms.variables(changed, environment),
        )
    except (Invalid, TooManyRequests) as error:
        return await pipeline_page(
            pipeline,
            error.status,
            values=changed,
            what=what,
            branch=branch,
            environment=environment,
            start_problems=_problems(error),
        )
    return redirect(f"/ui/jobs/{job.id}", 303)


async def pipeline_page(
    pipeline: Pipeline,
    status: int = 200,
    *,
    again: str = "",
    values: Mapping[str, str] | None = None,
    **typed: Any,
) -> Response:
    """The page of a pipeline, with what was `typed` into its forms and what is wrong with that.

    The form that starts a build has the `values`, or what the build `again` ran with.
    """
    shown: dict[str, Any] = {
        "config": pipeline.definition.config,
        "secret_name": request.args.get("secret", ""),
        "repository": await repositories.of_pipeline(pipeline.id) if pipeline.path is not None else None,
        "sources": _SOURCES,
    }
    if may(Role.BUILDER):
        definition = await start_forms.parsed(pipeline.definition)
        secrets = definition.combined.secrets if definition is not None else ()
        shown |= await start_forms.fields(pipeline, definition, again, values)
        shown["lacking"] = await named_secrets.lacking(pipeline, secrets)
        if may(Role.ADMIN):
            everyone = await users.listed()
            visibility = await users.visibility(pipeline.id)
            shown |= {
                "visibility_mark": forms.mark(*visibility),
                "chosen_visibility": visibility,
                "users": everyone,
                "secrets": await named_secrets.of_pipeline(pipeline, secrets),
                "language": language.as_json(),
                "done": _DONE.get(request.args.get("done", "")),
            }
    shown["branches"] = await start_forms.branches(pipeline)
    page = await render(
        "pipeline.html",
        pipeline=pipeline,
        statuses=STATUSES,
        **await _builds(pipeline),
        **shown | typed,
    )
    return Response(page, status)


async def _builds(pipeline: Pipeline) -> dict[str, Any]:
    """The builds that are asked for, and what all of the last ones say."""
    status, view = request.args.get("status", ""), request.args.get("view", "")
    filters = {
        "status": status if status in STATUSES else "",
        "branch": forms.words("branch", 200),
        "view": view if view == "branches" else "",
    }
    before = forms.number(request.args.get("before", ""))
    if filters["view"]:
        found = await build_search.last_of_branches(
            pipeline.id,
            _BUILDS + 1,
            before,
            status=filters["status"] or None,
            branch=filters["branch"] or None,
        )
    else:
        found = await build_search.found(
            _BUILDS + 1,
            pipeline_id=pipeline.id,
            status=filters["status"] or None,
            branch=filters["branch"] or None,
            before=before,
        )
    bars = (await build_lists.bars_of_each([pipeline.id], _CHART))[pipeline.id]
    given = {name: value for name, value in filters.items() if value}
    return {
        "builds": found[:_BUILDS],
        "parts_of": await parts.progress([build.id for build in found if build.status == "running"]),
        "filters": {**filters, "before": before},
        "query": urlencode(given | ({"before": before} if before else {})),
        "older": urlencode({**given, "before": found[_BUILDS - 1].id}) if len(found) > _BUILDS else None,
        "chart": charts.drawing(
            bars, "Durations of the last builds", max(_FEW, len(bars)), prefix=prefix_of(current_app)
        )
        if bars
        else None,
        "bars": bars,
        "ceiling": charts.ceiling(bars),
        "numbers": charts.statistics(bars),
    }
