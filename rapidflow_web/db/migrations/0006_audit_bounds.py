from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0005_secrets")]

    initial = False

    operations = [
        ops.AddField(
            model_name="AuditEntry",
            name="count",
            field=fields.IntField(default=1, db_default=1),
        ),
        ops.AddIndex(
            model_name="AuditEntry",
            index=Index(fields=["action", "actor", "status"]),
        ),
    ]
