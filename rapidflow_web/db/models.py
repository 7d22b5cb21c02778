"""The tables. Times are milliseconds since 1970, UTC; what has not happened yet is null."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class Definition(Model):
    """A pipeline's text at one time: what jobs ran with stays as it was when the pipeline changes."""

    id = fields.BigIntField(primary_key=True)
    name = fields.TextField()
    config = fields.TextField()

    class Meta:
        table = "definition"


class Pipeline(Model):
    """A stored definition that can be started. A deleted one keeps its row, for its jobs."""

    id = fields.BigIntField(primary_key=True)
    definition: fields.ForeignKeyRelation[Definition] = fields.ForeignKeyField(
        "rapidflow.Definition", related_name="pipelines", on_delete=fields.RESTRICT
    )
    definition_id: int
    created_at = fields.BigIntField()
    updated_at = fields.BigIntField()
    deleted_at = fields.BigIntField(null=True)

    class Meta:
        table = "pipeline"


class Job(Model):
    """One build of a pipeline."""

    id = fields.BigIntField(primary_key=True)
    pipeline: fields.ForeignKeyRelation[Pipeline] = fields.ForeignKeyField(
        "rapidflow.Pipeline", related_name="jobs", on_delete=fields.RESTRICT
    )
    pipeline_id: int
    definition: fields.ForeignKeyRelation[Definition] = fields.ForeignKeyField(
        "rapidflow.Definition", related_name="jobs", on_delete=fields.RESTRICT
    )
    definition_id: int
    status = fields.CharField(max_length=16)
    branch = fields.TextField(null=True)
    repo_name = fields.TextField(null=True)
    language = fields.TextField(null=True)
    version = fields.TextField(null=True)
    folder = fields.TextField(null=True)
    expose_ports = fields.BooleanField(default=False)
    cancelled = fields.BooleanField(default=False)
    container_id = fields.TextField(null=True)
    created_at = fields.BigIntField()
    started_at = fields.BigIntField(null=True)
    finished_at = fields.BigIntField(null=True)
    error = fields.TextField(null=True)
    commit = fields.TextField(null=True)
    retry_of = fields.BigIntField(null=True)
    ports: dict[str, str] | None = fields.JSONField(null=True)  # pyright: ignore[reportAssignmentType]
    image = fields.TextField(null=True)
    started_by = fields.TextField()
    timeline: list[dict[str, object]] = fields.JSONField(default=list)  # pyright: ignore[reportAssignmentType]
    # Bytes of the sealed log. Null until the log is sealed, which is the last thing that happens to a job,
    # so that a start finds everything that is not wholly finished by this column.
    log_size = fields.BigIntField(null=True)

    class Meta:
        table = "job"
        indexes = (
            Index(fields=("status", "id")),
            Index(fields=("pipeline_id", "id")),
            Index(fields=("branch", "id")),
            Index(fields=("log_size",)),
            Index(fields=("retry_of",)),
        )


class Step(Model):
    """One step of a job."""

    id = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "rapidflow.Job", related_name="steps", on_delete=fields.CASCADE
    )
    job_id: int
    order_num = fields.IntField()
    type = fields.CharField(max_length=16)
    content = fields.TextField()
    status = fields.CharField(max_length=16)
    created_at = fields.BigIntField()
    name = fields.TextField(null=True)
    exit_code = fields.IntField(null=True)
    started_at = fields.BigIntField(null=True)
    finished_at = fields.BigIntField(null=True)

    class Meta:
        table = "step"
        indexes = (Index(fields=("job_id", "order_num")),)


class Environment(Model):
    """A variable that a job was given."""

    id = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "rapidflow.Job", related_name="environments", on_delete=fields.CASCADE
    )
    job_id: int
    key = fields.TextField()
    value = fields.TextField()

    class Meta:
        table = "environment"
        indexes = (Index(fields=("job_id",)),)
