"""Who may see a pipeline, on its page."""

from __future__ import annotations

from quart import Response, redirect
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.accounts.changes import audience
from rapidflow_web.db import pipelines, users
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.pipelines import pipeline_page
from rapidflow_web.web.services import services


@blueprint.post("/ui/pipelines/<pipeline_id>/visibility")
async def change_visibility(pipeline_id: int) -> Response | WerkzeugResponse:
    """Restricts a pipeline to administrators and the users that were ticked, or shows it to all."""
    form = await forms.fields()
    restricted = forms.one_of(form.get("seen_by", ""), ("all", "some"), "seen_by") == "some"
    names = sorted(await forms.chosen("users")) if restricted else []
    pipeline = await pipelines.existing(pipeline_id)
    stored = await users.visibility(pipeline.id)
    if forms.is_old(form, *stored) and stored != (restricted, names):
        now = audience(stored[1]) if stored[0] else "everyone"
        problem = (
            f"not saved: the visibility was changed to {now} after you opened the page; "
            "save again to replace it with yours"
        )
        return await pipeline_page(
            pipeline, 409, chosen_visibility=(restricted, names), visibility_problem=problem
        )
    await services().accounts.set_visibility(pipeline.id, restricted, names)
    return redirect(f"/ui/pipelines/{pipeline.id}", 303)
