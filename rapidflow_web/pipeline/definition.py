"""What a pipeline says, once it is known to be valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from rapidflow_web.pipeline.limits import NO_LIMITS, Limits
from rapidflow_web.pipeline.triggers import Concurrency, Facts, NotifyTarget, On, When

StepType = Literal["bash", "sh"]


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

    @property
    def reads_event(self) -> bool:
        """Whether the same commit may be built otherwise for a pull request than for a push, by a `when`."""
        return any(step.when is not None and step.when.reads_event for step in self.steps)

    @property
    def reads_paths(self) -> bool:
        """Whether changed files decide what is built."""
        filters = [self.on and self.on.push, self.on and self.on.pull_request]
        filters += [step.when for step in self.steps]
        return any(one is not None and one.paths is not None for one in filters)


def judged(steps: Sequence[StepDefinition], facts: Facts) -> tuple[StepDefinition, ...]:
    """The steps of a build with these facts, with why they are left out as far as that is known before."""
    return tuple(
        step if step.when is None else replace(step, skipped=step.when.left_out(facts)) for step in steps
    )
