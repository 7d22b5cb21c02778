from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0010_uploads")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Job",
            name="failure",
            field=fields.JSONField(
                null=True, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
            ),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["created_at"]),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["started_by", "id"]),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["author", "id"]),
        ),
    ]
