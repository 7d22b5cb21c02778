"""The secrets that pages list: of all pipelines, of one, and what its definition names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidflow_web.db import repositories, secrets
from rapidflow_web.db.models import Pipeline, Secret
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
    not_granted: bool = False
    """Whether it is a shared one that the repository of the pipeline may not use."""

    @property
    def fetches(self) -> bool:
        """Whether it is for fetching the source, and given to no build."""
        return self.name == CLONE_PASSWORD


@dataclass(frozen=True, slots=True)
class Lacking:
    """The secrets for which a build of a pipeline fails, by name."""

    missing: Sequence[str] = ()
    """There is none of this name."""
    not_granted: Sequence[str] = ()
    """There is a shared one, which the repository of the pipeline may not use."""
    repository_id: int | None = None

    def __bool__(self) -> bool:
        return bool(self.missing or self.not_granted)


async def of_all_pipelines() -> list[Named]:
    """By name: what any pipeline may name."""
    return [Named(secret.name, secret, True, True) for secret in await secrets.listed(secrets.EVERYWHERE)]


async def of_pipeline(pipeline: Pipeline, used: Sequence[str]) -> list[Named]:
    """By name: the pipeline's own secrets, and those that are `used` by its definition."""
    own = {secret.name: secret for secret in await secrets.listed(pipeline.id)}
    others = {secret.name: secret for secret in await secrets.listed(secrets.EVERYWHERE)} if used else {}
    refused = set((await lacking(pipeline, used)).not_granted)
    return [
        Named(
            name,
            own.get(name) or (others.get(name) if name not in refused else None),
            name in own,
            name in used,
            name in refused,
        )
        for name in sorted({*own, *used})
    ]


async def lacking(pipeline: Pipeline, names: Sequence[str]) -> Lacking:
    """Those of the names for which a build of the pipeline would be given no secret, each once."""
    if not names:
        return Lacking()
    repository = await repositories.of_pipeline(pipeline.id)
    own = {secret.name for secret in await secrets.listed(pipeline.id)}
    shared = {secret.name for secret in await secrets.listed(secrets.EVERYWHERE)}
    granted = shared if repository is None else shared.intersection(repository.secrets)
    rest = [name for name in names if name not in own and name not in granted]
    return Lacking(
        [name for name in rest if name not in shared],
        [name for name in rest if name in shared],
        repository.id if repository is not None else None,
    )
