from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise.fields.base import OnDelete
from tortoise import fields


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0003_upkeep")]

    initial = False

    operations = [
        ops.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("at", fields.BigIntField()),
                ("actor", fields.CharField(max_length=160)),
                ("address", fields.CharField(max_length=64)),
                ("action", fields.CharField(max_length=64)),
                ("target", fields.TextField(unique=False)),
                ("status", fields.IntField()),
            ],
            options={
                "table": "deed",
                "app": "rapidflow",
                "pk_attr": "id",
                "table_description": "What somebody did, for the audit log.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="User",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("name", fields.CharField(unique=True, max_length=64)),
                ("password", fields.TextField(null=True, unique=False)),
                ("role", fields.CharField(max_length=16)),
                ("created_at", fields.BigIntField()),
            ],
            options={
                "table": "user_account",
                "app": "rapidflow",
                "pk_attr": "id",
                "table_description": "Who may log in. Without a password only a proxy in front, or a token, can say that it is them.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Grant",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "pipeline",
                    fields.ForeignKeyField(
                        "rapidflow.Pipeline",
                        source_field="pipeline_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="grants",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                (
                    "user",
                    fields.ForeignKeyField(
                        "rapidflow.User",
                        source_field="user_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="grants",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
            ],
            options={
                "table": "pipeline_grant",
                "app": "rapidflow",
                "unique_together": (("pipeline", "user"),),
                "pk_attr": "id",
                "table_description": "Lets a user see a restricted pipeline.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Session",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("digest", fields.CharField(unique=True, max_length=64)),
                (
                    "user",
                    fields.ForeignKeyField(
                        "rapidflow.User",
                        source_field="user_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="sessions",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("created_at", fields.BigIntField()),
                ("expires_at", fields.BigIntField()),
            ],
            options={
                "table": "session",
                "app": "rapidflow",
                "pk_attr": "id",
                "table_description": "A browser that logged in. `digest` is the SHA-256 of what its cookie holds.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Token",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("digest", fields.CharField(unique=True, max_length=64)),
                (
                    "user",
                    fields.ForeignKeyField(
                        "rapidflow.User",
                        source_field="user_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="tokens",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("name", fields.CharField(max_length=64)),
                ("role", fields.CharField(max_length=16)),
                (
                    "pipelines",
                    fields.JSONField(
                        null=True, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
                ("created_at", fields.BigIntField()),
                ("expires_at", fields.BigIntField(null=True)),
                ("used_at", fields.BigIntField(null=True)),
            ],
            options={
                "table": "token",
                "app": "rapidflow",
                "pk_attr": "id",
                "table_description": "What a program shows instead of a password. `digest` is its SHA-256, `pipelines` all it may see.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="Pipeline",
            name="restricted",
            field=fields.BooleanField(default=False, db_default=False),
        ),
    ]
