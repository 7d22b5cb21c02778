from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0013_parts")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Job",
            name="node",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Job",
            name="node_name",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Job",
            name="on_node",
            field=fields.TextField(null=True, unique=False),
        ),
    ]
