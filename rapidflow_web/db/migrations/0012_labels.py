from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0011_failures_and_filters")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Pipeline",
            name="labels",
            field=fields.TextField(null=True, unique=False),
        ),
    ]
