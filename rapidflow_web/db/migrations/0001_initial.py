from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    initial = True

    operations = [
        ops.CreateModel(
            name="Definition",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("name", fields.TextField(unique=False)),
                ("config", fields.TextField(unique=False)),
            ],
            options={
                "table": "definition",
                "app": "rapidflow",
                "pk_attr": "id",
                "table_description": "A pipeline's text at one time: what jobs ran with stays as it was when the pipeline changes.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Pipeline",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "definition",
                    fields.ForeignKeyField(
                        "rapidflow.Definition",
                        source_field="definition_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="pipelines",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("created_at", fields.BigIntField()),
                ("updated_at", fields.BigIntField()),
                ("deleted_at", fields.BigIntField(null=True)),
            ],
            options={
                "table": "pipeline",
                "app": "rapidflow",
                "pk_attr": "id",
                "table_description": "A stored definition that can be started. A deleted one keeps its row, for its jobs.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Job",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "pipeline",
                    fields.ForeignKeyField(
                        "rapidflow.Pipeline",
                        source_field="pipeline_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="jobs",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                (
                    "definition",
                    fields.ForeignKeyField(
                        "rapidflow.Definition",
                        source_field="definition_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="jobs",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("status", fields.CharField(max_length=16)),
                ("branch", fields.TextField(null=True, unique=False)),
                ("repo_name", fields.TextField(null=True, unique=False)),
                ("language", fields.TextField(null=True, unique=False)),
                ("version", fields.TextField(null=True, unique=False)),
                ("folder", fields.TextField(null=True, unique=False)),
                ("expose_ports", fields.BooleanField(default=False)),
                ("cancelled", fields.BooleanField(default=False)),
                ("container_id", fields.TextField(null=True, unique=False)),
                ("created_at", fields.BigIntField()),
                ("started_at", fields.BigIntField(null=True)),
                ("finished_at", fields.BigIntField(null=True)),
                ("error", fields.TextField(null=True, unique=False)),
                ("commit", fields.TextField(null=True, unique=False)),
                ("retry_of", fields.BigIntField(null=True)),
                (
                    "ports",
                    fields.JSONField(
                        null=True, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
                ("image", fields.TextField(null=True, unique=False)),
                ("started_by", fields.TextField(unique=False)),
                (
                    "timeline",
                    fields.JSONField(
                        default=list, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
                ("log_size", fields.BigIntField(null=True)),
            ],
            options={
                "table": "job",
                "app": "rapidflow",
                "indexes": [
                    Index(fields=["status", "id"]),
                    Index(fields=["pipeline_id", "id"]),
                    Index(fields=["branch", "id"]),
                    Index(fields=["log_size"]),
                    Index(fields=["retry_of"]),
                ],
                "pk_attr": "id",
                "table_description": "One build of a pipeline.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Environment",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "job",
                    fields.ForeignKeyField(
                        "rapidflow.Job",
                        source_field="job_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="environments",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("key", fields.TextField(unique=False)),
                ("value", fields.TextField(unique=False)),
            ],
            options={
                "table": "environment",
                "app": "rapidflow",
                "indexes": [Index(fields=["job_id"])],
                "pk_attr": "id",
                "table_description": "A variable that a job was given.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Step",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "job",
                    fields.ForeignKeyField(
                        "rapidflow.Job",
                        source_field="job_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="steps",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("order_num", fields.IntField()),
                ("type", fields.CharField(max_length=16)),
                ("content", fields.TextField(unique=False)),
                ("status", fields.CharField(max_length=16)),
                ("created_at", fields.BigIntField()),
                ("name", fields.TextField(null=True, unique=False)),
                ("exit_code", fields.IntField(null=True)),
                ("started_at", fields.BigIntField(null=True)),
                ("finished_at", fields.BigIntField(null=True)),
            ],
            options={
                "table": "step",
                "app": "rapidflow",
                "indexes": [Index(fields=["job_id", "order_num"])],
                "pk_attr": "id",
                "table_description": "One step of a job.",
            },
            bases=["Model"],
        ),
    ]
