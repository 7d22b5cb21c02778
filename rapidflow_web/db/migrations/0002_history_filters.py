from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0001_initial")]

    initial = False

    operations = [
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["pipeline_id", "status", "id"]),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["pipeline_id", "branch", "status", "id"]),
        ),
    ]
