from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields
from tortoise.indexes import Index


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0002_history_filters")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Image",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("name", fields.CharField(unique=True, max_length=512)),
                ("used_at", fields.BigIntField()),
            ],
            options={
                "table": "image",
                "app": "rapidflow",
                "pk_attr": "id",
                "table_description": "An image that was pulled for a build, and so may be removed when it is not used.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="Job",
            name="stored_size",
            field=fields.BigIntField(null=True),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["finished_at"]),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["stored_size", "id"]),
        ),
        ops.AddField(
            model_name="Step",
            name="longest_silence",
            field=fields.BigIntField(null=True),
        ),
    ]
