"""Who may see a pipeline, on its page."""

from __future__ import annotations

from quart import redirect
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import pipelines, users
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.services import services


@blueprint.post("/ui/pipelines/<pipeline_id>/visibility")
async def change_visibility(pipeline_id: int) -> WerkzeugResponse:
    """Restricts a pipeline to administrators and the users that were ticked, or shows it to all."""
    pipeline = await pipelines.existing(pipeline_id)
    restricted, names = await users.visibility(pipeline.id)
    seen_by = (await forms.edited({"seen_by": "some" if restricted else "all"}))["seen_by"]
    restricted = forms.one_of(seen_by, ("all", "some"), "seen_by") == "some"
    seeing = await forms.ticked("users", names) if restricted else []
    await services().accounts.set_visibility(pipeline.id, restricted, seeing)
    return redirect(f"/ui/pipelines/{pipeline.id}", 303)
