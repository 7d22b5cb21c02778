"""The tables of what starts builds, and of who is told of them. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

if TYPE_CHECKING:
    from rapidflow_web.db.models import Job, Pipeline


class Repository(Model):
    """A clone URL that the server listens to. A deleted one keeps its row, for its events and pipelines.

    Its secrets, which are the secret of its webhook and the token for its forge, are in the vault.
    """

    id: int = fields.BigIntField(primary_key=True)
    # Without a password.
    url = fields.TextField()
    # One of `forges.NAMES`.
    forge = fields.CharField(max_length=16)
    default_branch = fields.TextField()
    # What the address of its webhook ends in.
    hook_key = fields.CharField(max_length=64, unique=True)
    # The webhook that was made at the forge; null where none was.
    hook_id: str | None = fields.TextField(null=True)
    # Until when the secret before the present one counts, in ms.
    old_secret_until: int | None = fields.BigIntField(null=True)
    # Seconds between two looks at its refs; null: never looked at.
    poll: int | None = fields.BigIntField(null=True)
    polled_at: int | None = fields.BigIntField(null=True)
    next_poll_at: int | None = fields.BigIntField(null=True)
    # Looks in a row that failed, and what the last one said.
    poll_failures: int = fields.IntField(default=0)
    poll_error: str | None = fields.TextField(null=True)
    # Until when its forge is told no status, in ms: it is away, or said to wait.
    statuses_paused_until: int | None = fields.BigIntField(null=True)
    # What pull requests from forks get: "approve", "run" or "never".
    forks = fields.CharField(max_length=16, default="approve")
    # Names of the installation's secrets that its pipelines may use.
    secrets: fields.Field[list[str]] = fields.JSONField(default=list)
    # What is wrong with definition files of the default branch: `[{"path", "message"}]`.
    problems: fields.Field[list[dict[str, str]]] = fields.JSONField(default=list)
    created_at: int = fields.BigIntField()
    deleted_at: int | None = fields.BigIntField(null=True)

    class Meta(Model.Meta):
        table = "repository"


class RepositoryRef(Model):
    """A branch, tag or head of a pull request as it was last seen. `value` is the id of a commit or tag."""

    id: int = fields.BigIntField(primary_key=True)
    repository: fields.ForeignKeyRelation[Repository] = fields.ForeignKeyField(
        "rapidflow.Repository", related_name="refs", on_delete=fields.CASCADE
    )
    repository_id: int
    ref = fields.TextField()
    value = fields.CharField(max_length=64)

    class Meta(Model.Meta):
        table = "repository_ref"
        indexes = (Index(fields=("repository_id", "ref")),)


class Delivery(Model):
    """One webhook that came. It is handled when `handled_at` is set. Its events are what it led to."""

    id: int = fields.BigIntField(primary_key=True)
    repository: fields.ForeignKeyRelation[Repository] = fields.ForeignKeyField(
        "rapidflow.Repository", related_name="deliveries", on_delete=fields.CASCADE
    )
    repository_id: int
    # What the forge calls it; null where it said nothing, or where the signature was wrong.
    key = fields.CharField(max_length=255, null=True)
    # The forge's word for what happened.
    event = fields.CharField(max_length=64)
    # In the order in which they came, without the values of those that are secret.
    headers: fields.Field[list[list[str]]] = fields.JSONField(default=list)
    size: int = fields.BigIntField()
    at: int = fields.BigIntField()
    # What it was answered.
    status: int = fields.IntField()
    reason: str | None = fields.TextField(null=True)
    # The delivery that this one repeats at a person's request.
    replay_of: int | None = fields.BigIntField(null=True)
    handled_at: int | None = fields.BigIntField(null=True)
    # Why nothing came of it, or what went wrong.
    outcome: str | None = fields.TextField(null=True)
    # As it came, null where the signature was wrong. The last column, so that lists need not read past it.
    body: bytes | None = fields.BinaryField(null=True)

    class Meta(Model.Meta):
        table = "delivery"
        unique_together = (("repository", "key"),)
        indexes = (Index(fields=("repository_id", "id")), Index(fields=("handled_at", "repository_id")))


class Upload(Model):
    """A working tree that somebody sent to have it built. `commit` is null until all of it is there."""

    id: int = fields.BigIntField(primary_key=True)
    pipeline: fields.ForeignKeyRelation[Pipeline] = fields.ForeignKeyField(
        "rapidflow.Pipeline", related_name="uploads", on_delete=fields.CASCADE
    )
    pipeline_id: int
    # Who sent it and alone may have it built; empty where nobody needs to log in.
    owner = fields.TextField()
    commit = fields.CharField(max_length=64, null=True)
    # In bytes; as much as may come until all of it is there.
    size: int = fields.BigIntField()
    created_at: int = fields.BigIntField()

    class Meta(Model.Meta):
        table = "upload"
        indexes = (Index(fields=("owner",)),)


class Event(Model):
    """What happened at a repository: a ref changed, or a schedule was due.

    `repository` is null for a schedule of a pipeline whose clone URL is no repository.
    """

    id: int = fields.BigIntField(primary_key=True)
    repository: fields.ForeignKeyNullableRelation[Repository] = fields.ForeignKeyField(
        "rapidflow.Repository", related_name="events", on_delete=fields.CASCADE, null=True
    )
    repository_id: int | None
    delivery: fields.ForeignKeyNullableRelation[Delivery] = fields.ForeignKeyField(
        "rapidflow.Delivery", related_name="events", on_delete=fields.SET_NULL, null=True
    )
    delivery_id: int | None
    # "push", "tag", "pull_request", "schedule" or "delete".
    kind = fields.CharField(max_length=16)
    ref: str | None = fields.TextField(null=True)
    before = fields.CharField(max_length=64, null=True)
    after = fields.CharField(max_length=64, null=True)
    # "webhook", "poll", "push" or "schedule".
    source = fields.CharField(max_length=16)
    sender: str | None = fields.TextField(null=True)
    title: str | None = fields.TextField(null=True)
    pull_request: fields.Field[dict[str, object] | None] = fields.JSONField(null=True)
    at: int = fields.BigIntField()

    class Meta(Model.Meta):
        table = "event"
        indexes = (
            Index(fields=("repository_id", "id")),
            Index(fields=("repository_id", "after")),
            Index(fields=("delivery_id",)),
        )


class Decision(Model):
    """What an event meant for one pipeline: `outcome` is "built", "ignored", "waiting" or "failed"."""

    id: int = fields.BigIntField(primary_key=True)
    event: fields.ForeignKeyRelation[Event] = fields.ForeignKeyField(
        "rapidflow.Event", related_name="decisions", on_delete=fields.CASCADE
    )
    event_id: int
    pipeline: fields.ForeignKeyRelation[Pipeline] = fields.ForeignKeyField(
        "rapidflow.Pipeline", related_name="decisions", on_delete=fields.CASCADE
    )
    pipeline_id: int
    outcome = fields.CharField(max_length=16)
    reason = fields.TextField()
    job: fields.ForeignKeyNullableRelation[Job] = fields.ForeignKeyField(
        "rapidflow.Job", related_name="decisions", on_delete=fields.SET_NULL, null=True
    )
    job_id: int | None

    class Meta(Model.Meta):
        table = "decision"
        indexes = (
            Index(fields=("event_id",)),
            Index(fields=("pipeline_id", "id")),
            Index(fields=("job_id",)),
        )


class Schedule(Model):
    """When a schedule of a pipeline is due next. A definition has a row for each of its schedules."""

    id: int = fields.BigIntField(primary_key=True)
    pipeline: fields.ForeignKeyRelation[Pipeline] = fields.ForeignKeyField(
        "rapidflow.Pipeline", related_name="schedules", on_delete=fields.CASCADE
    )
    pipeline_id: int
    # What identifies it in the definition: its name, cron line and time zone.
    key = fields.CharField(max_length=255)
    due_at: int = fields.BigIntField()

    class Meta(Model.Meta):
        table = "schedule"
        unique_together = (("pipeline", "key"),)
        indexes = (Index(fields=("due_at",)),)


class CommitStatus(Model):
    """What a forge is to show at a commit for one pipeline, and what it was told last.

    `state` is one of `forges.base.State`. It is to be sent while `sent` differs from `serial`, which each
    change of it counts up.
    """

    id: int = fields.BigIntField(primary_key=True)
    repository: fields.ForeignKeyRelation[Repository] = fields.ForeignKeyField(
        "rapidflow.Repository", related_name="statuses", on_delete=fields.CASCADE
    )
    repository_id: int
    commit = fields.CharField(max_length=64)
    context = fields.CharField(max_length=255)
    state = fields.CharField(max_length=16)
    description = fields.TextField()
    job_id: int | None = fields.BigIntField(null=True)
    pipeline_id: int | None = fields.BigIntField(null=True)
    # When it last changed.
    changed_at: int = fields.BigIntField()
    serial: int = fields.BigIntField(default=1)
    sent: int = fields.BigIntField(default=0)
    attempts: int = fields.IntField(default=0)
    # In ms; null: nothing is to be sent.
    next_at: int | None = fields.BigIntField(null=True)
    error: str | None = fields.TextField(null=True)

    class Meta(Model.Meta):
        table = "commit_status"
        unique_together = (("repository", "commit", "context"),)
        indexes = (Index(fields=("next_at",)),)


class Notification(Model):
    """A message on the end of a build that is still to be sent. `target` is an item of `notify`."""

    id: int = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "rapidflow.Job", related_name="notifications", on_delete=fields.CASCADE
    )
    job_id: int
    target: fields.Field[dict[str, object]] = fields.JSONField()
    # Where it goes: messages with the same are sent one after the other.
    lane = fields.TextField()
    # Why it is sent: "broken", "fixed", "failed" or "always".
    occasion = fields.CharField(max_length=16)
    created_at: int = fields.BigIntField()
    attempts: int = fields.IntField(default=0)
    # In ms; null: it was sent, or given up for the reason in `error`.
    next_at: int | None = fields.BigIntField(null=True)
    sent_at: int | None = fields.BigIntField(null=True)
    error: str | None = fields.TextField(null=True)

    class Meta(Model.Meta):
        table = "notification"
        indexes = (Index(fields=("next_at",)), Index(fields=("job_id",)))
