"""What a pipeline says, once it is known to be valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from rapidflow_web.errors import Cause
from rapidflow_web.pipeline.conditions import Condition
from rapidflow_web.pipeline.limits import NO_LIMITS, Limits
from rapidflow_web.pipeline.triggers import Concurrency, Facts, NotifyTarget, On, When

StepType = Literal["bash", "sh", "job"]
"""A step of the type `job` is a part of a build of several jobs."""


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """One step. `files` maps paths below the working folder to their text.

    `skipped` says why `when` leaves it out of the build at hand; None for one that may run. One that is
    `post` runs after the others, however they ended, also after a cancel.
    """

    content: str
    type: StepType = "bash"
    name: str | None = None
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    when: When | None = None
    skipped: str | None = None
    post: bool = False
    part: Mapping[str, object] | None = None
    """What is known of the part that a step of the type `job` stands for (see `builds.parts`)."""

    def runs_after(self, failed: bool) -> bool:
        """Whether it runs where no step before it failed, or one did."""
        if self.skipped is not None:
            return False
        if self.post:
            return True
        return self.when.runs_after(failed) if self.when is not None else not failed


@dataclass(frozen=True, slots=True)
class Service:
    """A container beside the steps, which reach it at `localhost` and by its name."""

    name: str
    image: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    ports: tuple[int, ...] = ()
    """It is ready when each of them listens, where `ready` is None."""
    ready: str | None = None
    """A script, run in it by sh, that succeeds once it is ready."""
    ready_timeout: int = 60
    """Seconds."""
    command: str | None = None
    """A script, run by sh, in place of what the image starts."""


@dataclass(frozen=True, slots=True)
class ParsedPipeline:
    """A pipeline, or one job of it. What is None was not said."""

    name: str
    steps: tuple[StepDefinition, ...]
    labels: tuple[str, ...] = ()
    """Words by which lists find it."""
    repo_name: str | None = None
    branch: str | None = None
    folder: str | None = None
    language: str | None = None
    version: str | None = None
    image: str | None = None
    expose_ports: bool = False
    network: bool = True
    new_privileges: bool = False
    on_node: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels, with their values, that the machine must have on which it runs."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: tuple[str, ...] = ()
    """Names of secrets, whose values the builds are given as variables."""
    limits: Limits = NO_LIMITS
    on: On | None = None
    """What starts builds besides people and programs; None: nothing does."""
    concurrency: Concurrency | None = None
    notify: tuple[NotifyTarget, ...] = ()
    services: tuple[Service, ...] = ()
    post_timeout: int = 300
    """Seconds that the steps that are `post` may take together."""
    jobs: tuple[JobDefinition, ...] = ()
    """The jobs of a build of several; then `steps` is empty."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of all jobs, in their order."""
        return tuple(part for job in self.jobs for part in job.parts)

    def part(self, name: str) -> tuple[JobDefinition, Part] | None:
        """A part by its name, with its job; None where there is none."""
        return next(((job, part) for job in self.jobs for part in job.parts if part.name == name), None)

    @property
    def combined(self) -> ParsedPipeline:
        """The pipeline with the variables and secrets of all its parts, for what holds for the build."""
        if not self.jobs:
            return self
        builds = [part.build for part in self.parts]
        env = {name: value for build in builds for name, value in build.env.items()}
        secrets = dict.fromkeys(name for build in builds for name in build.secrets)
        return replace(self, env={**env, **self.env}, secrets=tuple(secrets))

    @property
    def reads_event(self) -> bool:
        """Whether the same commit may be built otherwise for a pull request than for a push, by a `when`."""
        if any(job.condition is not None and job.condition.reads_event for job in self.jobs):
            return True
        return any(step.when is not None and step.when.reads_event for step in self._every_step)

    @property
    def reads_paths(self) -> bool:
        """Whether changed files decide what is built."""
        filters = [self.on and self.on.push, self.on and self.on.pull_request]
        filters += [step.when for step in self._every_step]
        return any(one is not None and one.paths is not None for one in filters)

    @property
    def _every_step(self) -> tuple[StepDefinition, ...]:
        return tuple(step for part in self.parts for step in part.build.steps) if self.jobs else self.steps


@dataclass(frozen=True, slots=True)
class Need:
    """A job that must have succeeded before another begins; an `optional` one must only have ended."""

    job: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """When a part that failed runs again, up to `max` times. It is enough that one of the lists fits.

    Without any list every failure does.
    """

    max: int
    exit_codes: tuple[int, ...] = ()
    when: tuple[Cause, ...] = ()

    def fits(self, exit_code: int | None, cause: str | None) -> bool:
        """Whether a part that failed so runs again. `exit_code` is that of the step, None if none failed."""
        if not self.exit_codes and not self.when:
            return True
        return cause in self.when or (cause is None and exit_code in self.exit_codes)


@dataclass(frozen=True, slots=True)
class AllowFailure:
    """Which exit codes of a step don't fail the build; None: all of them."""

    exit_codes: tuple[int, ...] | None = None

    def forgives(self, exit_code: int | None, cause: str | None) -> bool:
        """Whether a failure counts as success. What no step caused, such as a timeout, never does."""
        if cause is not None or exit_code is None:
            return False
        return self.exit_codes is None or exit_code in self.exit_codes


@dataclass(frozen=True, slots=True)
class Part:
    """A job with one combination of its matrix. `build` is what runs in its containers."""

    name: str
    cell: Mapping[str, str]
    build: ParsedPipeline
    concurrency: Concurrency | None = None


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """A job of a build of several. `max_parallel` is of its parts."""

    name: str
    parts: tuple[Part, ...]
    needs: tuple[Need, ...] = ()
    max_parallel: int | None = None
    fail_fast: bool = False
    condition: Condition | None = None
    retry: Retry | None = None
    allow_failure: AllowFailure | None = None
    approval: bool = False
    priority: int = 0


def judged(parsed: ParsedPipeline, facts: Facts) -> tuple[StepDefinition, ...]:
    """The steps of a build with these facts, with why they are left out as far as that is known before.

    Those of a build of several jobs are its parts.
    """
    if not parsed.jobs:
        return _judged(parsed.steps, facts)
    return tuple(
        StepDefinition(
            part.name,
            "job",
            part={
                "job_id": None,
                "attempt": 1,
                "needs": [need.job for need in job.needs],
                "state": "waiting",
                "reason": None,
                "left_out": {
                    str(number): step.skipped
                    for number, step in enumerate(_judged(part.build.steps, facts), 1)
                    if step.skipped is not None
                },
            },
        )
        for job in parsed.jobs
        for part in job.parts
    )


def _judged(steps: Sequence[StepDefinition], facts: Facts) -> tuple[StepDefinition, ...]:
    return tuple(
        step if step.when is None else replace(step, skipped=step.when.left_out(facts)) for step in steps
    )
