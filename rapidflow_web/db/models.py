"""The tables. Times are milliseconds since 1970, UTC; what has not happened yet is null."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tortoise import fields, models
from tortoise.indexes import Index
from tortoise.models import Model

from rapidflow_web.db import labels

if TYPE_CHECKING:
    from rapidflow_web.db.trigger_models import Repository


def _no_comments(_: type[Model]) -> dict[str, str]:
    return {}


# It looks for comments of columns in the source of each model, which was a sixth of what a start took.
models._get_comments = _no_comments  # pyright: ignore[reportPrivateUsage]


class Definition(Model):
    """A pipeline's text at one time: what jobs ran with stays as it was when the pipeline changes."""

    id: int = fields.BigIntField(primary_key=True)
    name = fields.TextField()
    config = fields.TextField()

    class Meta(Model.Meta):
        table = "definition"


class Pipeline(Model):
    """A stored definition that can be started. A deleted one keeps its row, for its jobs."""

    id: int = fields.BigIntField(primary_key=True)
    definition: fields.ForeignKeyRelation[Definition] = fields.ForeignKeyField(
        "rapidflow.Definition", related_name="pipelines", on_delete=fields.RESTRICT
    )
    definition_id: int
    created_at: int = fields.BigIntField()
    updated_at: int = fields.BigIntField()
    deleted_at: int | None = fields.BigIntField(null=True)
    # Seen only by administrators and those whom a `Grant` names.
    restricted = fields.BooleanField(default=False, db_default=False)
    # Where its definition file is: both are null for a definition that is stored on the server alone.
    repository: fields.ForeignKeyNullableRelation[Repository] = fields.ForeignKeyField(
        "rapidflow.Repository", related_name="pipelines", on_delete=fields.RESTRICT, null=True
    )
    repository_id: int | None
    path: str | None = fields.TextField(null=True)
    # Whether the definition is that of the default branch; other branches may have further files.
    on_default_branch = fields.BooleanField(default=True, db_default=True)
    # Why the file at the head of the default branch can't be read; null while it is valid.
    problem: str | None = fields.TextField(null=True)
    # Of its definition, as `db.labels` stores them.
    labels: str | None = fields.TextField(null=True)

    @property
    def each_label(self) -> tuple[str, ...]:
        """The labels of its definition."""
        return labels.each(self.labels)

    class Meta(Model.Meta):
        table = "pipeline"
        indexes = (Index(fields=("repository_id",)),)


class Job(Model):
    """One build of a pipeline."""

    id: int = fields.BigIntField(primary_key=True)
    pipeline: fields.ForeignKeyRelation[Pipeline] = fields.ForeignKeyField(
        "rapidflow.Pipeline", related_name="jobs", on_delete=fields.RESTRICT
    )
    pipeline_id: int
    definition: fields.ForeignKeyRelation[Definition] = fields.ForeignKeyField(
        "rapidflow.Definition", related_name="jobs", on_delete=fields.RESTRICT
    )
    definition_id: int
    status = fields.CharField(max_length=16)
    branch: str | None = fields.TextField(null=True)
    repo_name: str | None = fields.TextField(null=True)
    language: str | None = fields.TextField(null=True)
    version: str | None = fields.TextField(null=True)
    folder: str | None = fields.TextField(null=True)
    expose_ports = fields.BooleanField(default=False)
    cancelled = fields.BooleanField(default=False)
    container_id: str | None = fields.TextField(null=True)
    # The machine that it runs on, by its id in the inventory, and its name; null where there is a single one.
    node: str | None = fields.TextField(null=True)
    node_name: str | None = fields.TextField(null=True)
    # The labels that the machine must have, as `pipeline.node_labels` stores them; null for none.
    on_node: str | None = fields.TextField(null=True)
    created_at: int = fields.BigIntField()
    started_at: int | None = fields.BigIntField(null=True)
    finished_at: int | None = fields.BigIntField(null=True)
    error: str | None = fields.TextField(null=True)
    # What the log says of the step that failed (see `logs.failure`); null until it was looked at.
    failure: fields.Field[dict[str, object] | None] = fields.JSONField(null=True)
    commit: str | None = fields.TextField(null=True)
    retry_of: int | None = fields.BigIntField(null=True)
    ports: fields.Field[dict[str, str] | None] = fields.JSONField(null=True)
    image: str | None = fields.TextField(null=True)
    started_by = fields.TextField()
    timeline: fields.Field[list[dict[str, object]]] = fields.JSONField(default=list)
    # "manual", "api", "push", "tag", "pull_request", "schedule" or "retry".
    event = fields.CharField(max_length=16, default="manual", db_default="manual")
    ref: str | None = fields.TextField(null=True)
    # The first line of the commit's message.
    title: str | None = fields.TextField(null=True)
    author: str | None = fields.TextField(null=True)
    pull_request: fields.Field[dict[str, object] | None] = fields.JSONField(null=True)
    superseded_by: int | None = fields.BigIntField(null=True)
    # The value of the ref before, and the commit against which changed files are counted.
    before = fields.CharField(max_length=64, null=True)
    base = fields.CharField(max_length=64, null=True)
    # Whether nothing vouches for its commit: it comes from a fork, and gets no secret.
    untrusted = fields.BooleanField(default=False, db_default=False)
    # Whether its definition is still to be read from its commit. Until then it has no steps.
    unread = fields.BooleanField(default=False, db_default=False)
    # "waiting" or "approved"; null where no approval is needed.
    approval = fields.CharField(max_length=16, null=True)
    # The uploaded working tree that it builds (see `Upload`), which may be gone.
    upload_id: int | None = fields.BigIntField(null=True)
    # How many parts a build of several jobs has. Such a lead job has no container; its steps are its parts.
    parts: int | None = fields.IntField(null=True)
    # The lead job of a part, its name and how often it has been begun, from 1; null for what is no part.
    lead_id: int | None = fields.BigIntField(null=True)
    part: str | None = fields.TextField(null=True)
    attempt: int | None = fields.IntField(null=True)
    # Of the jobs that wait, those with a higher one begin first.
    priority: int = fields.IntField(default=0, db_default=0)
    # What ended it besides a step: "engine_lost", "service_failed" or "timeout".
    cause = fields.CharField(max_length=16, null=True)
    # Of the builds of a concurrency group one runs at a time.
    concurrency_group: str | None = fields.TextField(null=True)
    # Bytes of the sealed log. Null until the log is sealed, which is the last thing that happens to a job,
    # so that a start finds everything that is not wholly finished by this column.
    log_size: int | None = fields.BigIntField(null=True)
    # Bytes that the log takes on the disk. Null until it is at rest (see `maintenance.maintenance`).
    stored_size: int | None = fields.BigIntField(null=True)

    class Meta(Model.Meta):
        table = "job"
        indexes = (
            Index(fields=("status", "id")),
            Index(fields=("pipeline_id", "id")),
            Index(fields=("pipeline_id", "status", "id")),
            Index(fields=("pipeline_id", "branch", "status", "lead_id", "id")),
            Index(fields=("branch", "id")),
            Index(fields=("pipeline_id", "commit")),
            Index(fields=("pipeline_id", "ref", "id")),
            Index(fields=("log_size",)),
            Index(fields=("retry_of",)),
            Index(fields=("upload_id",)),
            Index(fields=("finished_at",)),
            Index(fields=("stored_size", "id")),
            Index(fields=("created_at",)),
            Index(fields=("started_by", "id")),
            Index(fields=("author", "id")),
            Index(fields=("lead_id", "id")),
            Index(fields=("status", "lead_id")),
        )


class Step(Model):
    """One step of a job."""

    id: int = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "rapidflow.Job", related_name="steps", on_delete=fields.CASCADE
    )
    job_id: int
    order_num = fields.IntField()
    type = fields.CharField(max_length=16)
    content = fields.TextField()
    status = fields.CharField(max_length=16)
    created_at: int = fields.BigIntField()
    name: str | None = fields.TextField(null=True)
    exit_code: int | None = fields.IntField(null=True)
    started_at: int | None = fields.BigIntField(null=True)
    finished_at: int | None = fields.BigIntField(null=True)
    # The longest time, in milliseconds, for which it printed nothing.
    longest_silence: int | None = fields.BigIntField(null=True)
    # Why its `when` leaves it out; null for one that runs.
    skipped: str | None = fields.TextField(null=True)
    # Whether it runs after the others, however they ended.
    post = fields.BooleanField(default=False, db_default=False)
    # What is known of the part of a build that it stands for (see `db.parts`).
    part: fields.Field[dict[str, object] | None] = fields.JSONField(null=True)

    class Meta(Model.Meta):
        table = "step"
        indexes = (Index(fields=("job_id", "order_num")),)


class Environment(Model):
    """A variable that a job was given."""

    id: int = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "rapidflow.Job", related_name="environments", on_delete=fields.CASCADE
    )
    job_id: int
    key = fields.TextField()
    value = fields.TextField()

    class Meta(Model.Meta):
        table = "environment"
        indexes = (Index(fields=("job_id",)),)


class Image(Model):
    """An image that was pulled for a build, and so may be removed when it is not used."""

    id: int = fields.BigIntField(primary_key=True)
    name = fields.CharField(max_length=512, unique=True)
    used_at: int = fields.BigIntField()

    class Meta(Model.Meta):
        table = "image"


class User(Model):
    """Who may log in. Without a password only a proxy in front, or a token, can say that it is them."""

    id: int = fields.BigIntField(primary_key=True)
    name = fields.CharField(max_length=64, unique=True)
    password: str | None = fields.TextField(null=True)
    role = fields.CharField(max_length=16)
    created_at: int = fields.BigIntField()

    class Meta(Model.Meta):
        table = "user_account"


class Session(Model):
    """A browser that logged in. `digest` is the SHA-256 of what its cookie holds."""

    id: int = fields.BigIntField(primary_key=True)
    digest = fields.CharField(max_length=64, unique=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "rapidflow.User", related_name="sessions", on_delete=fields.CASCADE
    )
    user_id: int
    created_at: int = fields.BigIntField()
    expires_at: int = fields.BigIntField()

    class Meta(Model.Meta):
        table = "session"


class Token(Model):
    """What a program shows instead of a password. `digest` is its SHA-256, `pipelines` all it may see."""

    id: int = fields.BigIntField(primary_key=True)
    digest = fields.CharField(max_length=64, unique=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "rapidflow.User", related_name="tokens", on_delete=fields.CASCADE
    )
    user_id: int
    name = fields.CharField(max_length=64)
    role = fields.CharField(max_length=16)
    pipelines: fields.Field[list[int] | None] = fields.JSONField(null=True)
    # Whether it could do less than its user when it was made. The user's role may change.
    limited = fields.BooleanField(default=False, db_default=False)
    created_at: int = fields.BigIntField()
    expires_at: int | None = fields.BigIntField(null=True)
    used_at: int | None = fields.BigIntField(null=True)

    class Meta(Model.Meta):
        table = "token"


class Grant(Model):
    """Lets a user see a restricted pipeline."""

    id: int = fields.BigIntField(primary_key=True)
    pipeline: fields.ForeignKeyRelation[Pipeline] = fields.ForeignKeyField(
        "rapidflow.Pipeline", related_name="grants", on_delete=fields.CASCADE
    )
    pipeline_id: int
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "rapidflow.User", related_name="grants", on_delete=fields.CASCADE
    )
    user_id: int

    class Meta(Model.Meta):
        table = "pipeline_grant"
        unique_together = (("pipeline", "user"),)


class Secret(Model):
    """A value that builds are given and nobody is shown. `scope` is a pipeline's id, 0 for all of them."""

    id: int = fields.BigIntField(primary_key=True)
    scope: int = fields.BigIntField()
    name = fields.CharField(max_length=255)
    # Encrypted (see `secrets.cipher`).
    value = fields.TextField()
    updated_at: int = fields.BigIntField()
    updated_by = fields.CharField(max_length=160)

    class Meta(Model.Meta):
        table = "secret"
        unique_together = (("scope", "name"),)


class Mask(Model):
    """A value that is not to be read in the output of a build that runs. Encrypted, too."""

    id: int = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "rapidflow.Job", related_name="masks", on_delete=fields.CASCADE
    )
    job_id: int
    value = fields.TextField()

    class Meta(Model.Meta):
        table = "mask"
        indexes = (Index(fields=("job_id",)),)


class AuditEntry(Model):
    """What somebody did, for the audit log."""

    id: int = fields.BigIntField(primary_key=True)
    at: int = fields.BigIntField()
    actor = fields.CharField(max_length=160)
    # Whose line it is: the actor without a token. Each has a share of the log.
    user_name = fields.CharField(max_length=160, default="", db_default="")
    address = fields.CharField(max_length=64)
    action = fields.CharField(max_length=64)
    target = fields.TextField()
    status: int = fields.IntField()
    # How often it was refused in the hour after `at`.
    count: int = fields.IntField(default=1, db_default=1)

    class Meta(Model.Meta):
        table = "deed"
        indexes = (
            Index(fields=("action", "actor", "status")),
            Index(fields=("user_name", "status", "action", "id")),
        )


class OutboxRow(Model):
    """A change of a job's status that one listener has not dealt with yet (see `db.outbox`)."""

    id: int = fields.BigIntField(primary_key=True)
    listener = fields.CharField(max_length=64)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "rapidflow.Job", related_name="outbox_rows", on_delete=fields.CASCADE
    )
    job_id: int
    status = fields.CharField(max_length=16)
    at: int = fields.BigIntField()

    class Meta(Model.Meta):
        table = "outbox"
        indexes = (Index(fields=("listener", "id")), Index(fields=("job_id",)))
