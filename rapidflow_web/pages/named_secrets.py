"""The secrets that pages list: of all pipelines, of one, and what its definition names."""

from __future__ import annotations

from dataclasses import dataclass

from rapidflow_web.db import repositories, secrets
from rapidflow_web.db.models import Pipeline, Secret
from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline import parser
from rapidflow_web.pipeline.variables import CLONE_PASSWORD


@dataclass(frozen=True, slots=True)
class Named:
    """A secret by name. `stored` is None for one that is not there."""

    name: str
    stored: Secret | None
    own: bool
    """Whether it can be changed on the page that shows it."""
    used: bool
    """Whether the definition names it."""

    @property
    def fetches(self) -> bool:
        """Whether it is for fetching the source, and given to no build."""
        return self.name == CLONE_PASSWORD


async def of_all_pipelines() -> list[Named]:
    """By name: what any pipeline may name."""
    return [Named(secret.name, secret, True, True) for secret in await secrets.listed(secrets.EVERYWHERE)]


async def of_pipeline(pipeline: Pipeline) -> list[Named]:
    """By name: the pipeline's own secrets, and what else its definition names."""
    own = {secret.name: secret for secret in await secrets.listed(pipeline.id)}
    used = _names(pipeline)
    others = {secret.name: secret for secret in await secrets.listed(secrets.EVERYWHERE)} if used else {}
    if (repository := await repositories.of_pipeline(pipeline.id)) is not None:
        others = {name: secret for name, secret in others.items() if name in repository.secrets}
    return [
        Named(name, own.get(name) or others.get(name), name in own, name in used)
        for name in sorted({*own, *used})
    ]


def _names(pipeline: Pipeline) -> tuple[str, ...]:
    try:
        return parser.parse_stored(pipeline.definition.config, pipeline.definition.name).secrets
    except Invalid:
        return ()  # of an earlier version, and not valid any more
