"""The shapes that the API sends and takes, for the OpenAPI document and for checking bodies.

`render.py` makes what is sent; a test holds it against these. The order of fields is part of the contract.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from rapidflow_web.web.requests import Digits, Flag, Id, Number

Status = Literal["pending", "running", "success", "failed", "cancelled"]
Time = Annotated[
    str,
    Field(
        description="UTC, whole seconds",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
        examples=["2025-09-26T10:00:05Z"],
    ),
]
Absent = SkipJsonSchema[None]
"""Says in a union that a value may be missing. It is never sent as null, and never taken as null."""

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
]
"""What people call a thing."""


class Job(BaseModel):
    """One build of a pipeline."""

    id: int
    pipeline_id: int
    status: Status
    branch: str | None
    repo_name: str | None
    language: str | None
    version: str | None
    folder: str | None
    expose_ports: bool
    cancelled: bool
    container_id: str | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    error: str | None = Field(description="Why the build failed.")
    commit: str | None
    retry_of: int | None
    ports: dict[str, str] | None = Field(description="The build's port to the address where it is published.")
    image: str | None
    started_by: str


class Jobs(RootModel[list[Job]]):
    """Jobs, newest first."""


class PipelineSnapshot(BaseModel):
    """The pipeline as it was when the job was started."""

    id: int
    name: str
    config: str


class Pipeline(PipelineSnapshot):
    """A stored pipeline; `config` is its YAML text as it was submitted."""

    created_at: Time
    updated_at: Time


class Pipelines(RootModel[list[Pipeline]]):
    """Pipelines, newest first."""


class Step(BaseModel):
    """One step of a job. `output` is its complete console output so far."""

    id: int
    job_id: int
    order_num: int
    type: str
    content: str
    status: Status
    output: str
    created_at: Time
    name: str | None
    exit_code: int | None
    started_at: Time | None
    finished_at: Time | None


class Steps(RootModel[list[Step]]):
    """The steps of a job in their order."""


class Environment(BaseModel):
    """A variable that the job was given."""

    id: int
    job_id: int
    key: str
    value: str


class Details(BaseModel):
    """A job with everything that belongs to it."""

    job: Job
    pipeline: PipelineSnapshot
    steps: list[Step]
    environments: list[Environment]


class JobLogEntry(BaseModel):
    """One step's log."""

    step_id: int
    order_num: int
    type: str
    content: str
    status: Status
    output: str
    created_at: Time


class JobLogs(BaseModel):
    """All logs of a job."""

    job_id: int
    status: Status
    logs: list[JobLogEntry]


class StepLog(BaseModel):
    """One step's log, with its job."""

    step_id: int
    job_id: int
    order_num: int
    type: str
    content: str
    status: Status
    output: str
    created_at: Time


class TimelinePhase(BaseModel):
    """One thing that happened before the first step."""

    name: Literal["queued", "image", "source", "container"]
    started_at: Time
    finished_at: Time | None
    duration_ms: int | None
    detail: str | None = Field(description="What it was, or how far it is.")
    failed: bool


class TimelinePhases(RootModel[list[TimelinePhase]]):
    """What happened before the first step, in the order it began."""


class Process(BaseModel):
    """A process of a build; `pid` is its number on the machine that it runs on."""

    pid: int
    seconds: int = Field(description="For how long it has been running.")
    command: str


class Activity(BaseModel):
    """What a running build does now; all is null while no step runs."""

    job_id: int
    step_id: int | None
    silent_ms: int | None = Field(description="For how long the step has printed nothing.")
    longest_silence_ms: int | None = Field(
        description="The longest that it ever did, in this build or the last ones in which it succeeded."
    )
    stalled: bool = Field(description="Whether it is silent for longer than it ever was, and so may hang.")
    processes: list[Process] | None = Field(description="What runs in it; null where nobody can tell.")


class PrunedBuild(BaseModel):
    """A build that is removed, with its log."""

    id: int
    pipeline_id: int
    finished_at: Time
    bytes: int = Field(description="What its log takes on the disk.")
    reason: str


class PrunedMirror(BaseModel):
    """A git mirror that is removed."""

    name: str
    bytes: int
    used_at: Time


class PrunedImage(BaseModel):
    """An image that is removed from the engine."""

    name: str
    bytes: int


class Pruned(BaseModel):
    """What was removed, or would be."""

    dry_run: bool
    builds: list[PrunedBuild]
    mirrors: list[PrunedMirror]
    images: list[PrunedImage]


class PruneQuery(BaseModel):
    """How to prune."""

    dry_run: Annotated[Flag, Field(description="Only tell what would be removed.")] = False


class Message(BaseModel):
    """What was done."""

    message: str


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"]
    version: str
    executor: Literal["docker", "process"]
    engine: str = Field(description='"ok", or why no build can be started now.')


class Ready(BaseModel):
    """How each part is: "ok", or in a sentence what is wrong with it."""

    status: Literal["ready", "not ready", "draining"] = Field(
        description="`draining` where the server is going to end, and only waits for builds that run."
    )
    database: str
    engine: str
    disk: str


class ErrorDetail(BaseModel):
    """One thing that is wrong with a body. `line` and `column` are there where it is YAML text."""

    field: str
    message: str
    line: int | Absent = None
    column: int | Absent = None


class Error(BaseModel):
    """What is wrong and what to do, in one sentence; `details` are there where a body does not validate."""

    error: str
    details: list[ErrorDetail] | Absent = None


class Visibility(BaseModel):
    """Who may see a pipeline: everyone, or administrators and these users."""

    model_config = ConfigDict(extra="forbid")

    restricted: bool
    users: list[str] = Field(default_factory=list, max_length=1_000)


class ChangedPipeline(BaseModel):
    """A pipeline's new definition. `name` serves where the YAML text has none."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    config: str = Field(description="The pipeline as YAML text.")


class NewPipeline(ChangedPipeline):
    """A pipeline to store. `name` serves where the YAML text has none."""

    visibility: Visibility | None = Field(
        default=None, description="Who may see it, from the first moment; without it everyone."
    )


class NewPipelineQuery(BaseModel):
    """Who may see a pipeline that is sent as YAML text; JSON has it in `visibility`."""

    restricted: Annotated[Flag, Field(description="Whether only administrators and `users` may see it.")] = (
        False
    )
    users: Annotated[
        str | Absent,
        Field(description="Names of users, separated by commas, who may see it if `restricted`."),
    ] = None


class NewJob(BaseModel):
    """What to start a build with, instead of what the pipeline says."""

    model_config = ConfigDict(extra="forbid")

    branch: str | None = None
    environments: dict[str, str] = Field(
        default_factory=dict, json_schema_extra={"propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}}
    )


class Page(BaseModel):
    """Which part of a list to send."""

    limit: Annotated[int, Field(ge=1, le=200, description="At most this many."), Digits] = 50
    before: Annotated[Id | Absent, Field(description="Only ids below this one.")] = None


class PipelinePage(Page):
    """Which pipelines to send."""

    name: Annotated[str | Absent, Field(description="Only pipelines of exactly this name.")] = None


class JobPage(Page):
    """Which jobs to send."""

    status: Annotated[Status | Absent, Field(description="Only jobs in this state.")] = None
    branch: Annotated[str | Absent, Field(description="Only builds of this branch.")] = None


class AllJobsPage(JobPage):
    """Which jobs of all pipelines to send."""

    pipeline_id: Annotated[Id | Absent, Field(description="Only jobs of this pipeline.")] = None


class StreamQuery(BaseModel):
    """Which part of a job's stream to send."""

    follow: Annotated[Flag, Field(description="Keep sending until the build ends.")] = False
    since: Annotated[Number, Field(description="Leave out the step with this id and all before it.")] = 0
    offset: Annotated[
        Number | Absent, Field(description="Skip this many bytes of what would be sent. Not with `tail`.")
    ] = None
    tail: Annotated[Number | Absent, Field(description="Begin at the last lines, this many.")] = None


class NoQuery(BaseModel):
    """Nothing can be asked for."""
