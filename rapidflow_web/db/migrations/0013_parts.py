from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0012_labels")]

    initial = False

    operations = [
        ops.RemoveIndex(
            model_name="Job",
            name=None,
            fields=["pipeline_id", "branch", "status", "id"],
        ),
        ops.AddField(
            model_name="Job",
            name="attempt",
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name="Job",
            name="cause",
            field=fields.CharField(null=True, max_length=16),
        ),
        ops.AddField(
            model_name="Job",
            name="lead_id",
            field=fields.BigIntField(null=True),
        ),
        ops.AddField(
            model_name="Job",
            name="part",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Job",
            name="parts",
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name="Job",
            name="priority",
            field=fields.IntField(default=0, db_default=0),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["pipeline_id", "branch", "status", "lead_id", "id"]),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["lead_id", "id"]),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["status", "lead_id"]),
        ),
        ops.AddField(
            model_name="Step",
            name="part",
            field=fields.JSONField(
                null=True, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
            ),
        ),
        ops.AddField(
            model_name="Step",
            name="post",
            field=fields.BooleanField(default=False, db_default=False),
        ),
    ]
