"""What routes take in their queries: which part of a list or of a log, and filters."""

from typing import Annotated

from pydantic import Field

from rapidflow_web.api.schemas import Absent, Status
from rapidflow_web.web.requests import Digits, Flag, Id, Model, Number


class Page(Model):
    """Pagination."""

    limit: Annotated[int, Field(ge=1, le=200, description="The maximum number of entries."), Digits] = 50
    before: Annotated[Id | Absent, Field(description="Only entries with a lower id.")] = None


class PipelinePage(Page):
    """Filters of pipelines."""

    name: Annotated[str | Absent, Field(description="Only pipelines with exactly this name.")] = None


class JobPage(Page):
    """Filters of jobs."""

    status: Annotated[Status | Absent, Field(description="Only jobs with this status.")] = None
    branch: Annotated[str | Absent, Field(description="Only jobs of this branch.")] = None


class AllJobsPage(JobPage):
    """Filters of the jobs of all pipelines."""

    pipeline_id: Annotated[Id | Absent, Field(description="Only jobs of this pipeline.")] = None
    lead_id: Annotated[Id | Absent, Field(description="Only the parts of this build of several jobs.")] = None


class StreamQuery(Model):
    """The part of a job's stream to send."""

    follow: Annotated[Flag, Field(description="Keep streaming until the build ends.")] = False
    since: Annotated[Number, Field(description="Skip the step with this id and all earlier ones.")] = 0
    offset: Annotated[Number | Absent, Field(description="Skip this many bytes. Not with `tail`.")] = None
    tail: Annotated[Number | Absent, Field(description="Start with the last lines: this many.")] = None


class ServiceLogQuery(Model):
    """The part of a service's log to send."""

    follow: Annotated[Flag, Field(description="Keep streaming until the build ends.")] = False
    offset: Annotated[Number | Absent, Field(description="Skip this many bytes.")] = None


class BadgeQuery(Model):
    """The branch that a badge is about."""

    branch: Annotated[
        str | Absent,
        Field(description="Default: the default branch of the repository, or else all branches."),
    ] = None


class NoQuery(Model):
    """No parameters."""
