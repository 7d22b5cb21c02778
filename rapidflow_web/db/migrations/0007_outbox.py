from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise.fields.base import OnDelete
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0006_audit_bounds")]

    initial = False

    operations = [
        ops.CreateModel(
            name="OutboxRow",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("listener", fields.CharField(max_length=64)),
                (
                    "job",
                    fields.ForeignKeyField(
                        "rapidflow.Job",
                        source_field="job_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="outbox_rows",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("status", fields.CharField(max_length=16)),
                ("at", fields.BigIntField()),
            ],
            options={
                "table": "outbox",
                "app": "rapidflow",
                "indexes": [Index(fields=["listener", "id"]), Index(fields=["job_id"])],
                "pk_attr": "id",
                "table_description": "A change of a job's status that one listener has not dealt with yet (see `db.outbox`).",
            },
            bases=["Model"],
        ),
    ]
