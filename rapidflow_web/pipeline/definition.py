"""What a pipeline says, once it is known to be valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rapidflow_web.pipeline.limits import NO_LIMITS, Limits

StepType = Literal["bash", "sh"]


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """One step. `files` maps paths below the working folder to their text."""

    content: str
    type: StepType = "bash"
    name: str | None = None
    files: Mapping[str, str] = field(default_factory=dict[str, str])


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
