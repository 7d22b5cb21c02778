"""Who may see a pipeline, on its page."""

from __future__ import annotations

from quart import redirect
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import pipelines
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.services import services


@blueprint.post("/ui/pipelines/<pipeline_id>/visibility")
async def change_visibility(pipeline_id: int) -> WerkzeugResponse:
    """Restricts a pipeline to administrators and the users that were ticked, or shows it to all."""
    pipeline = await pipelines.existing(pipeline_id)
    form = await forms.fields()
    restricted = forms.one_of(form.get("seen_by", ""), ("all", "some"), "seen_by") == "some"
    users = await forms.chosen("users") if restricted else []
    await services().accounts.set_visibility(pipeline.id, restricted, users)
    return redirect(f"/ui/pipelines/{pipeline.id}", 303)
