"""What a pipeline says, once it is known to be valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rapidflow_web.pipeline.limits import NO_LIMITS, Limits
from rapidflow_web.pipeline.triggers import Concurrency, NotifyTarget, On, When

StepType = Literal["bash", "sh"]


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """One step. `files` maps paths below the working folder to their text."""

    content: str
    type: StepType = "bash"
    name: str | None = None
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    when: When | None = None


@dataclass(frozen=True, slots=True)
class ParsedPipeline:
    """A pipeline. What is None was not said."""

    name: str
    steps: tuple[StepDefinition, ...]
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

    @property
    def reads_event(self) -> bool:
        """Whether the same commit may be built otherwise for a pull request than for a push, by a `when`."""
        return any(step.when is not None and step.when.reads_event for step in self.steps)
