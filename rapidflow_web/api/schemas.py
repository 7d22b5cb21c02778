"""The shapes that the API sends and takes, for the OpenAPI document and for checking bodies.

`representations.py` makes what is sent; a test holds it against these. The order of fields is part of the
contract. Like all modules of schemas, it evaluates its annotations: pydantic would compile each that is
stored as text.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, RootModel, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from rapidflow_web.web.requests import LARGEST_ID, Flag, Model

Status = Literal["pending", "running", "success", "failed", "cancelled"]
Event = Literal["manual", "api", "push", "tag", "pull_request", "schedule", "retry"]
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

_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"


def _one_line(text: str) -> str:
    if not re.fullmatch(_ONE_LINE, text):
        raise ValueError("use one line without control characters")
    return text


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_one_line),
    Field(json_schema_extra={"pattern": _ONE_LINE}),
]
"""A display name."""


class PullRequest(Model):
    """The pull request that a build is for."""

    number: int
    title: str
    url: str | None
    source: str
    target: str
    fork: bool


class Job(Model):
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
    ports: dict[str, str] | None = Field(description="Maps each exposed port to its published address.")
    image: str | None
    started_by: str
    event: Event
    ref: str | None = Field(description="The full name of the branch, tag or head of a pull request.")
    title: str | None = Field(description="The first line of the commit's message.")
    author: str | None
    pull_request: PullRequest | None
    superseded_by: int | None
    waits_for: str | None = Field(description="What a pending job waits for besides a slot.")
    parts: Annotated[
        int | Absent, Field(description="The number of its parts. Only in builds of several jobs.")
    ] = None
    lead_id: Annotated[
        int | Absent, Field(description="The build that the job is a part of. Only in parts.")
    ] = None
    part: Annotated[str | Absent, Field(description="The name of the part. Only in parts.")] = None
    attempt: Annotated[int | Absent, Field(description="Counts from 1. Only in parts.")] = None
    node: Annotated[
        str | Absent,
        Field(description="The machine that it runs on. Only with many machines, once it has begun."),
    ] = None


class Retry(Model):
    """Which parts of a build of several jobs run again; without `only` all of them."""

    model_config = ConfigDict(extra="forbid")

    only: Annotated[
        Literal["failed"] | None,
        Field(description="Take over what succeeded; run what failed again, and what needs it."),
    ] = None


class Jobs(RootModel[list[Job]], defer_build=True):
    """Jobs, newest first."""


class PipelineSnapshot(Model):
    """The pipeline as of the start of the job."""

    id: int
    name: str
    config: str


class Pipeline(PipelineSnapshot):
    """A pipeline; `config` is its YAML text as submitted."""

    created_at: Time
    updated_at: Time
    repository_id: int | None
    path: str | None = Field(description="Its definition file in the repository.")


class Pipelines(RootModel[list[Pipeline]], defer_build=True):
    """Pipelines, newest first."""


class Part(Model):
    """A part of a build of several jobs. `job_id` is its last attempt; null until it is ready to run."""

    job_id: int | None
    attempt: int
    needs: list[str] = Field(description="The names of the jobs that it needs.")
    state: Literal[
        "waiting", "skipped", "waits_for_approval", "running", "success", "failed", "forgiven", "cancelled"
    ]
    reason: str | None = Field(description="Why it is in this state.")


class Step(Model):
    """One step of a job. `output` is its complete console output so far.

    `skipped` says why its `when` left it out; it then stays pending.
    """

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
    skipped: str | None
    post: Annotated[
        Literal[True] | Absent,
        Field(description="There for steps that run after the others in any case."),
    ] = None
    part: Annotated[Part | Absent, Field(description="There for steps that are parts of the build.")] = None


class Steps(RootModel[list[Step]], defer_build=True):
    """The steps of a job, in order."""


class Environment(Model):
    """An environment variable of a job."""

    id: int
    job_id: int
    key: str
    value: str


class Details(Model):
    """A job with its pipeline, steps and environment."""

    job: Job
    pipeline: PipelineSnapshot
    steps: list[Step]
    environments: list[Environment]


class JobLogEntry(Model):
    """The log of a step."""

    step_id: int
    order_num: int
    type: str
    content: str
    status: Status
    output: str
    created_at: Time


class JobLogs(Model):
    """All logs of a job."""

    job_id: int
    status: Status
    logs: list[JobLogEntry]


class StepLog(Model):
    """The log of a step, with its job."""

    step_id: int
    job_id: int
    order_num: int
    type: str
    content: str
    status: Status
    output: str
    created_at: Time


class TimelinePhase(Model):
    """A phase of the preparation, before the first step."""

    name: Literal["queued", "image", "source", "container"]
    started_at: Time
    finished_at: Time | None
    duration_ms: int | None
    detail: str | None = Field(description="The result, or the progress so far.")
    failed: bool


class TimelinePhases(RootModel[list[TimelinePhase]], defer_build=True):
    """The phases before the first step, in the order in which they began."""


class Process(Model):
    """A process of a build; `pid` is its process ID on the host."""

    pid: int
    seconds: int = Field(description="Running time in seconds.")
    command: str


class Activity(Model):
    """The current activity of a build; all fields but `waits_for` are null while no step runs."""

    job_id: int
    step_id: int | None
    silent_ms: int | None = Field(description="Time since the last output of the step.")
    longest_silence_ms: int | None = Field(
        description="The longest silence of this step in this build or in recent successful ones."
    )
    stalled: bool = Field(
        description="Whether the step has been silent longer than ever before and may hang."
    )
    processes: list[Process] | None = Field(description="The running processes; null if they are unknown.")
    waits_for: str | None = Field(description="Why output of a running build does not arrive, else null.")


class PrunedBuild(Model):
    """A build to prune, with its log."""

    id: int
    pipeline_id: int
    finished_at: Time
    bytes: int = Field(description="The disk space of its log.")
    reason: str


class PrunedMirror(Model):
    """A git mirror to prune."""

    name: str
    bytes: int
    used_at: Time


class PrunedImage(Model):
    """A container image to prune."""

    name: str
    bytes: int


class Pruned(Model):
    """Everything pruned, or with `dry_run` everything that would be."""

    dry_run: bool
    builds: list[PrunedBuild]
    mirrors: list[PrunedMirror]
    images: list[PrunedImage]


class PruneQuery(Model):
    """How to prune."""

    dry_run: Annotated[Flag, Field(description="Only report what would be removed.")] = False


class Message(Model):
    """A confirmation."""

    message: str


class Health(Model):
    """The server is alive."""

    status: Literal["ok"]
    version: str
    executor: Literal["docker", "process"]
    engine: str = Field(description='"ok", or why no build can start.')


class Ready(Model):
    """The state of each part: "ok", or one sentence that says what is wrong."""

    status: Literal["ready", "not ready", "draining"] = Field(
        description="`draining` while the server shuts down after running builds."
    )
    database: str
    engine: str
    disk: str


class ErrorDetail(Model):
    """A validation error in a body. YAML text has `line` and `column`."""

    field: str
    message: str
    line: int | Absent = None
    column: int | Absent = None


class Error(Model):
    """One sentence: the error and how to fix it. For an invalid body, `details` lists each problem."""

    error: str
    details: list[ErrorDetail] | Absent = None


class Visibility(Model):
    """The visibility of a pipeline: everyone, or administrators and these users."""

    model_config = ConfigDict(extra="forbid")

    restricted: bool
    users: list[str] = Field(default_factory=list, max_length=1_000)


class ChangedPipeline(Model):
    """A pipeline's new definition. `name` is the default if the YAML text has none."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    config: str = Field(description="The pipeline as YAML text.")


class NewPipeline(ChangedPipeline):
    """A pipeline to create. `name` is the default if the YAML text has none."""

    visibility: Visibility | None = Field(
        default=None, description="The visibility from the start. Default: everyone."
    )


class NewPipelineQuery(Model):
    """The visibility of a pipeline sent as YAML text; JSON has it in `visibility`."""

    restricted: Annotated[Flag, Field(description="Whether only administrators and `users` may see it.")] = (
        False
    )
    users: Annotated[
        str | Absent,
        Field(description="Comma-separated names of users who may see it if `restricted`."),
    ] = None


class NewJob(Model):
    """Overrides for one build."""

    model_config = ConfigDict(extra="forbid")

    branch: str | None = None
    commit: Annotated[
        str | None,
        Field(description="The full hash of a commit, where the definition stands in a repository."),
    ] = None
    tag: Annotated[str | None, Field(description="A tag, where the definition stands in a repository.")] = (
        None
    )
    environments: dict[str, str] = Field(
        default_factory=dict, json_schema_extra={"propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}}
    )
    upload: Annotated[
        int | None,
        Field(ge=1, le=LARGEST_ID, description="One of the caller's uploads, built instead of a commit."),
    ] = None
    secrets: Annotated[
        bool,
        Field(description="For an upload: false builds it like a fork's commit, without secrets and logins."),
    ] = True


class Upload(Model):
    """A working tree that can be built."""

    id: int
    pipeline_id: int
    commit: str
    size: int = Field(description="Bytes on the server's disk.")
    created_at: Time


class UploadQuery(Model):
    """What is uploaded."""

    commit: Annotated[str | Absent, Field(description="The full hash of the commit in the pack.")] = None
