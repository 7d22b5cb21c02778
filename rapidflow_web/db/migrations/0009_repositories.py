from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0008_shares_and_limits")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Notification",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "job",
                    fields.ForeignKeyField(
                        "rapidflow.Job",
                        source_field="job_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="notifications",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                (
                    "target",
                    fields.JSONField(encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads),
                ),
                ("lane", fields.TextField(unique=False)),
                ("occasion", fields.CharField(max_length=16)),
                ("created_at", fields.BigIntField()),
                ("attempts", fields.IntField(default=0)),
                ("next_at", fields.BigIntField(null=True)),
                ("sent_at", fields.BigIntField(null=True)),
                ("error", fields.TextField(null=True, unique=False)),
            ],
            options={
                "table": "notification",
                "app": "rapidflow",
                "indexes": [Index(fields=["next_at"]), Index(fields=["job_id"])],
                "pk_attr": "id",
                "table_description": "A message on the end of a build that is still to be sent. `target` is an item of `notify`.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Repository",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("url", fields.TextField(unique=False)),
                ("forge", fields.CharField(max_length=16)),
                ("default_branch", fields.TextField(unique=False)),
                ("hook_key", fields.CharField(unique=True, max_length=64)),
                ("hook_id", fields.TextField(null=True, unique=False)),
                ("old_secret_until", fields.BigIntField(null=True)),
                ("poll", fields.BigIntField(null=True)),
                ("polled_at", fields.BigIntField(null=True)),
                ("next_poll_at", fields.BigIntField(null=True)),
                ("poll_failures", fields.IntField(default=0)),
                ("poll_error", fields.TextField(null=True, unique=False)),
                ("statuses_paused_until", fields.BigIntField(null=True)),
                ("forks", fields.CharField(default="approve", max_length=16)),
                (
                    "secrets",
                    fields.JSONField(
                        default=list, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
                (
                    "problems",
                    fields.JSONField(
                        default=list, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
                ("created_at", fields.BigIntField()),
                ("deleted_at", fields.BigIntField(null=True)),
            ],
            options={
                "table": "repository",
                "app": "rapidflow",
                "pk_attr": "id",
                "table_description": "A clone URL that the server listens to. A deleted one keeps its row, for its events and pipelines.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="CommitStatus",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "repository",
                    fields.ForeignKeyField(
                        "rapidflow.Repository",
                        source_field="repository_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="statuses",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("commit", fields.CharField(max_length=64)),
                ("context", fields.CharField(max_length=255)),
                ("state", fields.CharField(max_length=16)),
                ("description", fields.TextField(unique=False)),
                ("job_id", fields.BigIntField(null=True)),
                ("pipeline_id", fields.BigIntField(null=True)),
                ("changed_at", fields.BigIntField()),
                ("serial", fields.BigIntField(default=1)),
                ("sent", fields.BigIntField(default=0)),
                ("attempts", fields.IntField(default=0)),
                ("next_at", fields.BigIntField(null=True)),
                ("error", fields.TextField(null=True, unique=False)),
            ],
            options={
                "table": "commit_status",
                "app": "rapidflow",
                "unique_together": (("repository", "commit", "context"),),
                "indexes": [Index(fields=["next_at"])],
                "pk_attr": "id",
                "table_description": "What a forge is to show at a commit for one pipeline, and what it was told last.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Delivery",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "repository",
                    fields.ForeignKeyField(
                        "rapidflow.Repository",
                        source_field="repository_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="deliveries",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("key", fields.CharField(null=True, max_length=255)),
                ("event", fields.CharField(max_length=64)),
                (
                    "headers",
                    fields.JSONField(
                        default=list, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
                ("size", fields.BigIntField()),
                ("at", fields.BigIntField()),
                ("status", fields.IntField()),
                ("reason", fields.TextField(null=True, unique=False)),
                ("replay_of", fields.BigIntField(null=True)),
                ("handled_at", fields.BigIntField(null=True)),
                ("outcome", fields.TextField(null=True, unique=False)),
                ("body", fields.BinaryField(null=True)),
            ],
            options={
                "table": "delivery",
                "app": "rapidflow",
                "unique_together": (("repository", "key"),),
                "indexes": [
                    Index(fields=["repository_id", "id"]),
                    Index(fields=["handled_at", "repository_id"]),
                ],
                "pk_attr": "id",
                "table_description": "One webhook that came. It is handled when `handled_at` is set. Its events are what it led to.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Event",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "repository",
                    fields.ForeignKeyField(
                        "rapidflow.Repository",
                        source_field="repository_id",
                        null=True,
                        db_constraint=True,
                        to_field="id",
                        related_name="events",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                (
                    "delivery",
                    fields.ForeignKeyField(
                        "rapidflow.Delivery",
                        source_field="delivery_id",
                        null=True,
                        db_constraint=True,
                        to_field="id",
                        related_name="events",
                        on_delete=OnDelete.SET_NULL,
                    ),
                ),
                ("kind", fields.CharField(max_length=16)),
                ("ref", fields.TextField(null=True, unique=False)),
                ("before", fields.CharField(null=True, max_length=64)),
                ("after", fields.CharField(null=True, max_length=64)),
                ("source", fields.CharField(max_length=16)),
                ("sender", fields.TextField(null=True, unique=False)),
                ("title", fields.TextField(null=True, unique=False)),
                (
                    "pull_request",
                    fields.JSONField(
                        null=True, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
                ("at", fields.BigIntField()),
            ],
            options={
                "table": "event",
                "app": "rapidflow",
                "indexes": [
                    Index(fields=["repository_id", "id"]),
                    Index(fields=["repository_id", "after"]),
                    Index(fields=["delivery_id"]),
                ],
                "pk_attr": "id",
                "table_description": "What happened at a repository: a ref changed, or a schedule was due.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Decision",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "event",
                    fields.ForeignKeyField(
                        "rapidflow.Event",
                        source_field="event_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="decisions",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                (
                    "pipeline",
                    fields.ForeignKeyField(
                        "rapidflow.Pipeline",
                        source_field="pipeline_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="decisions",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("outcome", fields.CharField(max_length=16)),
                ("reason", fields.TextField(unique=False)),
                (
                    "job",
                    fields.ForeignKeyField(
                        "rapidflow.Job",
                        source_field="job_id",
                        null=True,
                        db_constraint=True,
                        to_field="id",
                        related_name="decisions",
                        on_delete=OnDelete.SET_NULL,
                    ),
                ),
            ],
            options={
                "table": "decision",
                "app": "rapidflow",
                "indexes": [
                    Index(fields=["event_id"]),
                    Index(fields=["pipeline_id", "id"]),
                    Index(fields=["job_id"]),
                ],
                "pk_attr": "id",
                "table_description": 'What an event meant for one pipeline: `outcome` is "built", "ignored", "waiting" or "failed".',
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="RepositoryRef",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "repository",
                    fields.ForeignKeyField(
                        "rapidflow.Repository",
                        source_field="repository_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="refs",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("ref", fields.TextField(unique=False)),
                ("value", fields.CharField(max_length=64)),
            ],
            options={
                "table": "repository_ref",
                "app": "rapidflow",
                "indexes": [Index(fields=["repository_id", "ref"])],
                "pk_attr": "id",
                "table_description": "A branch, tag or head of a pull request as it was last seen. `value` is the id of a commit or tag.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Schedule",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "pipeline",
                    fields.ForeignKeyField(
                        "rapidflow.Pipeline",
                        source_field="pipeline_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="schedules",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("key", fields.CharField(max_length=255)),
                ("due_at", fields.BigIntField()),
            ],
            options={
                "table": "schedule",
                "app": "rapidflow",
                "unique_together": (("pipeline", "key"),),
                "indexes": [Index(fields=["due_at"])],
                "pk_attr": "id",
                "table_description": "When a schedule of a pipeline is due next. A definition has a row for each of its schedules.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="Job",
            name="approval",
            field=fields.CharField(null=True, max_length=16),
        ),
        ops.AddField(
            model_name="Job",
            name="author",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Job",
            name="base",
            field=fields.CharField(null=True, max_length=64),
        ),
        ops.AddField(
            model_name="Job",
            name="before",
            field=fields.CharField(null=True, max_length=64),
        ),
        ops.AddField(
            model_name="Job",
            name="concurrency_group",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Job",
            name="event",
            field=fields.CharField(default="manual", db_default="manual", max_length=16),
        ),
        ops.AddField(
            model_name="Job",
            name="pull_request",
            field=fields.JSONField(
                null=True, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
            ),
        ),
        ops.AddField(
            model_name="Job",
            name="ref",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Job",
            name="superseded_by",
            field=fields.BigIntField(null=True),
        ),
        ops.AddField(
            model_name="Job",
            name="title",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Job",
            name="unread",
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name="Job",
            name="untrusted",
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["pipeline_id", "commit"]),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["pipeline_id", "ref", "id"]),
        ),
        ops.AddField(
            model_name="Pipeline",
            name="on_default_branch",
            field=fields.BooleanField(default=True, db_default=True),
        ),
        ops.AddField(
            model_name="Pipeline",
            name="path",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Pipeline",
            name="problem",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Pipeline",
            name="repository",
            field=fields.ForeignKeyField(  # pyright: ignore[reportUnknownArgumentType]
                "rapidflow.Repository",
                source_field="repository_id",
                null=True,
                db_constraint=True,
                to_field="id",
                related_name="pipelines",
                on_delete=OnDelete.RESTRICT,
            ),
        ),
        ops.AddIndex(
            model_name="Pipeline",
            index=Index(fields=["repository_id"]),
        ),
        ops.AddField(
            model_name="Step",
            name="skipped",
            field=fields.TextField(null=True, unique=False),
        ),
        # What is known of how earlier builds were started.
        ops.RunSQL(
            "UPDATE job SET event = 'retry' WHERE retry_of IS NOT NULL; "
            "UPDATE job SET event = 'api' WHERE retry_of IS NULL AND started_by = 'api'",
            ops.RunSQL.noop,
        ),
    ]
