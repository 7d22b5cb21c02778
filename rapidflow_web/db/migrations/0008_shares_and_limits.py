from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.schema_editor.base import BaseSchemaEditor


async def name_users(_apps: object, schema_editor: BaseSchemaEditor) -> None:
    """Tells whose each line of the audit log is: the actor without a token."""
    user_name = "split_part(actor, ' (token ', 1)"
    if schema_editor.client.capabilities.dialect == "sqlite":
        user_name = "substr(actor, 1, instr(actor || ' (token ', ' (token ') - 1)"
    await schema_editor.client.execute_script(f"UPDATE deed SET user_name = {user_name}")


# What is known of tokens that were made before: they are limited if they can do less than their user can now.
LIMIT_TOKENS = """UPDATE token SET limited = TRUE WHERE pipelines IS NOT NULL
    OR role <> 'admin' AND user_id IN (SELECT id FROM user_account WHERE role = 'admin')
    OR role = 'viewer' AND user_id IN (SELECT id FROM user_account WHERE role = 'builder')"""


class Migration(migrations.Migration):
    dependencies = [("rapidflow", "0007_outbox")]

    initial = False

    operations = [
        ops.AddField(
            model_name="AuditEntry",
            name="user_name",
            field=fields.CharField(default="", db_default="", max_length=160),
        ),
        ops.RunPython(name_users, ops.RunPython.noop),
        ops.AddIndex(
            model_name="AuditEntry",
            index=Index(fields=["user_name", "status", "action", "id"]),
        ),
        ops.AddField(
            model_name="Token",
            name="limited",
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.RunSQL(LIMIT_TOKENS, ops.RunSQL.noop),
    ]
