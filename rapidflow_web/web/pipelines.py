"""How the API and the pages add and delete a pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from rapidflow_web.accounts.changes import audience
from rapidflow_web.db import pipelines
from rapidflow_web.db.models import Pipeline
from rapidflow_web.web.gate import audit_subject
from rapidflow_web.web.services import services


async def store_pipeline(
    config: str, name: str | None, *, by: str, seen_by: Sequence[str] | None
) -> Pipeline:
    """Stores a pipeline that administrators and `seen_by` see, or with None everyone. Raises `Invalid`."""
    if seen_by is not None:
        audit_subject(audience(seen_by))
    pipeline = await services().builds.add(config, name, by=by, seen_by=seen_by)
    called = f"{pipeline.id} {pipeline.definition.name}"
    audit_subject(called if seen_by is None else f"{called}: {audience(seen_by)}")
    if seen_by is not None:
        await services().accounts.announce()
    return pipeline


async def delete_pipeline(pipeline: Pipeline) -> None:
    """Hides a pipeline; its builds stay."""
    # Its number leads nowhere later.
    audit_subject(pipeline.definition.name)
    await pipelines.delete(pipeline.id)
