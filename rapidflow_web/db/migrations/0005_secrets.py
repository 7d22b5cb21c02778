from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0004_access")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Mask",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "job",
                    fields.ForeignKeyField(
                        "rapidflow.Job",
                        source_field="job_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="masks",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("value", fields.TextField(unique=False)),
            ],
            options={
                "table": "mask",
                "app": "rapidflow",
                "indexes": [Index(fields=["job_id"])],
                "pk_attr": "id",
                "table_description": "A value that is not to be read in the output of a build that runs. Encrypted, too.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Secret",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("scope", fields.BigIntField()),
                ("name", fields.CharField(max_length=255)),
                ("value", fields.TextField(unique=False)),
                ("updated_at", fields.BigIntField()),
                ("updated_by", fields.CharField(max_length=160)),
            ],
            options={
                "table": "secret",
                "app": "rapidflow",
                "unique_together": (("scope", "name"),),
                "pk_attr": "id",
                "table_description": "A value that builds are given and nobody is shown. `scope` is a pipeline's id, 0 for all of them.",
            },
            bases=["Model"],
        ),
    ]
