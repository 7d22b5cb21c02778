"""The plan of a job: which containers it needs, from which images, with which limits, and what runs in them.

`plan` is pure. It is made once, from the stored job and its pipeline, before anything is done for the build;
preparation and execution work on the plan, and neither reads the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rapidflow_web.db.models import Environment, Job, Step
from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline import images, parser
from rapidflow_web.pipeline.definition import ParsedPipeline, Service, StepDefinition
from rapidflow_web.pipeline.limits import Limits
from rapidflow_web.pipeline.triggers import NO_FAILURE
from rapidflow_web.settings import Settings


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of a job. `id` is that of its row; the definition says, too, whether it is left out."""

    id: int
    definition: StepDefinition


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """A container of a job, or what stands for it where the executor has none.

    `image` is None where the files of the source are to choose it. `port` is published while the build runs.
    """

    image: str | None
    port: int | None = None
    network: bool = True
    new_privileges: bool = False
    steps: tuple[PlannedStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job needs. `environment` has no secrets; `secrets` names those that the build is given.

    Of `limits` those on memory, CPUs, processes and /dev/shm hold for each container, the others for the job.
    """

    name: str
    containers: tuple[ContainerPlan, ...]
    limits: Limits
    environment: Mapping[str, str]
    secrets: tuple[str, ...] = ()
    post_timeout: int = 300
    """Seconds that the steps that are `post` may take together."""
    services: tuple[Service, ...] = ()
    """They run in the network namespace of the main container."""

    @property
    def main(self) -> ContainerPlan:
        """The container in which the steps run."""
        return next(container for container in self.containers if container.steps)


def plan(job: Job, steps: Sequence[Step], variables: Sequence[Environment], settings: Settings) -> Plan:
    """The plan of a `job` that was fetched with its definition; `steps` and `variables` are its rows.

    Raises `Invalid` for a pipeline that an earlier version took and this one does not.
    """
    parsed = definition_of(job)
    limits = parsed.limits.completed(settings.default_limits, settings.most_limits)
    # What is stored of secrets is not their value; the execution gets that.
    environment = {one.key: one.value for one in variables if one.key not in parsed.secrets}
    main = ContainerPlan(
        image=job.image or (image_for(job.language, job.version, settings) if job.language else None),
        port=int(environment["PORT"]) if job.expose_ports else None,
        network=parsed.network,
        new_privileges=parsed.new_privileges,
        steps=planned(parsed.steps, steps),
    )
    return Plan(
        parsed.name,
        (main,),
        limits,
        environment,
        parsed.secrets,
        post_timeout=parsed.post_timeout,
        services=parsed.services,
    )


def definition_of(job: Job) -> ParsedPipeline:
    """What runs in the containers of a `job` that was fetched with its definition.

    Raises as `plan` does. A definition may be slow to read.
    """
    return of_part(parser.parse_stored(job.definition.config, job.definition.name), job)


def of_part(parsed: ParsedPipeline, job: Job) -> ParsedPipeline:
    """What a `job` is of a pipeline of several jobs; of any other, all of it. Raises `BuildError`."""
    if job.part is None:
        return parsed
    found = parsed.part(job.part)
    if found is None:
        raise BuildError(f"the pipeline has no part '{job.part}'")
    return found[1].build


def planned(definitions: Sequence[StepDefinition], rows: Sequence[Step]) -> tuple[PlannedStep, ...]:
    """The steps of a job by their definitions and their rows."""
    return tuple(
        PlannedStep(row.id, replace(step, skipped=None if row.skipped == NO_FAILURE else row.skipped))
        for row, step in zip(rows, definitions, strict=True)
    )


def following(steps: Sequence[PlannedStep], number: int, failed: bool) -> int | None:
    """The number of the step that runs after step `number`, which is 0 before the first; None for the end.

    `failed` is whether a step has failed.
    """
    numbers = range(number + 1, len(steps) + 1)
    return next((one for one in numbers if steps[one - 1].definition.runs_after(failed)), None)


def image_for(language: str | None, version: str | None, settings: Settings) -> str:
    """The image of a build in this language; None: no language is known."""
    image = images.image_for(language, version, settings.images) if language is not None else None
    return image or settings.default_image
