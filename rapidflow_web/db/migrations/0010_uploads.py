from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0009_repositories")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Upload",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "pipeline",
                    fields.ForeignKeyField(
                        "rapidflow.Pipeline",
                        source_field="pipeline_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="uploads",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("owner", fields.TextField(unique=False)),
                ("commit", fields.CharField(null=True, max_length=64)),
                ("size", fields.BigIntField()),
                ("created_at", fields.BigIntField()),
            ],
            options={
                "table": "upload",
                "app": "rapidflow",
                "indexes": [Index(fields=["owner"])],
                "pk_attr": "id",
                "table_description": "A working tree that somebody sent to have it built. `commit` is null until all of it is there.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="Job",
            name="upload_id",
            field=fields.BigIntField(null=True),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["upload_id"]),
        ),
    ]
