"""The shapes of repositories, deliveries and events."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, RootModel

from rapidflow_web.api.query_schemas import Page
from rapidflow_web.api.schemas import Absent, Time
from rapidflow_web.forges.base import Forge
from rapidflow_web.web.requests import Flag, Model

Forks = Literal["approve", "run", "never"]


class NewRepository(Model):
    """A repository to add."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=2000, description="Its clone URL.")
    forge: Annotated[str | None, Field(description="Default: guessed from the URL.")] = None
    token: Annotated[str | None, Field(description="A token for the API of the forge.")] = None


class ChangedRepository(Model):
    """What is to be changed of a repository."""

    model_config = ConfigDict(extra="forbid")

    poll: Annotated[str | None, Field(description="A duration such as `5m`, or `off`.")] = None
    forge: str | None = None
    token: str | None = None
    forks: Annotated[
        str | None, Field(description="What pull requests from forks get: `approve`, `run` or `never`.")
    ] = None
    secrets: Annotated[
        list[str] | None, Field(max_length=100, description="Secrets of all pipelines that these may use.")
    ] = None


class RepositoryPipeline(Model):
    """A pipeline of a repository."""

    id: int
    name: str
    path: str


class DefinitionProblem(Model):
    """What is wrong with a definition file of the default branch."""

    path: str
    message: str


class Repository(Model):
    """A repository."""

    id: int
    url: str
    forge: Forge
    default_branch: str
    hook_url: str
    connected: bool
    poll: str
    pipelines: list[RepositoryPipeline]
    problems: list[DefinitionProblem]
    forks: Forks
    secrets: list[str]
    polled_at: Time | None
    poll_error: str | None
    created_at: Time


class AddedRepository(Model):
    """A repository that was added; `hook_secret` is shown only now."""

    id: int
    url: str
    forge: Forge
    default_branch: str
    hook_url: str
    hook_secret: str
    connected: bool
    poll: str
    pipelines: list[RepositoryPipeline]
    problems: list[DefinitionProblem]
    forks: Forks
    secrets: list[str]
    polled_at: Time | None
    poll_error: str | None
    created_at: Time


class Repositories(RootModel[list[Repository]], defer_build=True):
    """Repositories, newest first."""


class HookSecret(Model):
    """The new secret of a webhook; the one before counts for 24 hours more, or until the next is made."""

    hook_secret: str


class Taken(Model):
    """A delivery. With `reason` there is nothing to do for it."""

    delivery: int | None
    reason: str | None = None


class Decision(Model):
    """What an event means for one pipeline."""

    pipeline_id: int
    outcome: Literal["built", "ignored", "waiting", "failed"]
    reason: str
    job_id: int | None


class Event(Model):
    """What happened at a repository."""

    id: int
    kind: Literal["push", "tag", "pull_request", "schedule", "delete"]
    ref: str | None
    before: str | None
    after: str | None
    source: Literal["webhook", "poll", "push", "schedule"]
    sender: str | None
    title: str | None
    at: Time
    decisions: list[Decision]


class Events(RootModel[list[Event]], defer_build=True):
    """Events, newest first."""


class DeliverySummary(Model):
    """A delivery, without its headers and body."""

    id: int
    repository_id: int
    key: str | None
    event: str
    size: int
    at: Time
    status: int
    reason: str | None
    replay_of: int | None
    handled_at: Time | None
    outcome: str | None


class Deliveries(RootModel[list[DeliverySummary]], defer_build=True):
    """Deliveries, newest first."""


class Delivery(DeliverySummary):
    """A delivery; `body` is null where the signature was wrong."""

    headers: list[list[str]]
    body: str | None
    events: list[Event]


class ReplayQuery(Model):
    """How to replay."""

    model_config = ConfigDict(extra="forbid")

    dry_run: Annotated[Flag, Field(description="Only say what would happen.")] = False


class Foreseen(Model):
    """What an event would mean for one pipeline."""

    pipeline_id: int | None
    outcome: str
    reason: str


class ForeseenEvent(Model):
    """An event that would be made."""

    kind: str
    ref: str | None
    before: str | None
    after: str | None
    decisions: list[Foreseen]


class Replayed(Model):
    """What a replay does: the new delivery, or what would happen."""

    delivery: int | None
    events: list[ForeseenEvent]


class ExplainQuery(Model):
    """What is to be explained."""

    model_config = ConfigDict(extra="forbid")

    ref: Annotated[str | Absent, Field(max_length=1000, description="A ref, or the name of a branch.")] = None
    commit: Annotated[str | Absent, Field(max_length=64, description="A commit, which can be shortened.")] = (
        None
    )


class Explanation(Model):
    """Why a commit was built or not."""

    ref: str | None
    commit: str | None
    at: Time | None
    stored: bool = Field(description="Whether it happened; else it was judged now.")
    outcome: str
    reason: str
    job_id: int | None


class Explanations(RootModel[list[Explanation]], defer_build=True):
    """Explanations, newest first."""


class Approved(Model):
    """What is approved or rejected: the commit of a build, or a part of a build of several jobs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1, "maxProperties": 1})

    commit: Annotated[str | None, Field(description="The commit that the build waits for.")] = None
    part: Annotated[str | None, Field(description="A part, or a job with all its parts.")] = None


class RepositoryPage(Page):
    """Pages of repositories, events and deliveries."""
