"""A server on the database of another version."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from tests.support import databases
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.server import Server

COUNT = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; sleep 0.02; done"


def downgrade(server: Server) -> None:
    """Brings the database back to what it was before 0003_upkeep."""
    # By hand where the way back makes a table anew, without the indexes that the next one takes away.
    for statement in (
        "DROP TABLE upload",
        "DROP INDEX idx_job_upload__7a28ce",
        "ALTER TABLE job DROP COLUMN upload_id",
        "DELETE FROM tortoise_migrations WHERE name >= '0010'",
    ):
        server.sql(statement)
    databases.downgrade(f"sqlite://{server.data}/rapidflow.db?foreign_keys=OFF", "0008_shares_and_limits")
    tables = ("outbox", "mask", "secret", "deed", "pipeline_grant", "session", "token", "user_account")
    for statement in (
        *(f"DROP TABLE {name}" for name in tables),
        "ALTER TABLE pipeline DROP COLUMN restricted",
        "DROP TABLE image",
        "DROP INDEX IF EXISTS idx_job_finishe_6ddac6",
        "DROP INDEX IF EXISTS idx_job_stored__297343",
        "ALTER TABLE job DROP COLUMN stored_size",
        "ALTER TABLE step DROP COLUMN longest_silence",
        # One that the way back lost.
        "CREATE INDEX idx_job_pipelin_cb295d ON job (pipeline_id, branch, status, id)",
        "DELETE FROM tortoise_migrations WHERE name >= '0003'",
    ):
        server.sql(statement)


def columns(path: str) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {row[1] for row in database.execute("PRAGMA table_info(job)")}


def test_an_upgrade_keeps_a_copy_and_every_build_also_those_that_run(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    before = server.run({"name": "before", "env": {"A": "1"}, "steps": ["echo $A", "exit 3"]})
    runs = server.start_job({"name": "runs", "steps": [COUNT, "echo end"]})
    server.wait_output(runs, "line 5\n")
    server.stop()
    downgrade(server)
    old = server.command("doctor")
    assert old.returncode == 2
    assert old.stderr == (
        "rapidflow: the database is of an older version; start the server once to bring it up to date.\n"
    )
    server.start()
    (copy,) = server.data.glob("rapidflow.before-0002_history_filters-*.db")
    assert "stored_size" not in columns(str(copy))
    assert "stored_size" in columns(str(server.data / "rapidflow.db"))
    assert server.details(before["job"]["id"]) == before
    details = server.wait_finished(runs)
    lines = "".join(f"line {number}\n" for number in range(1, 201))
    assert [step["output"] for step in details["steps"]] == [lines, "end\n"]
    assert_ended_once(server, runs)
    assert_nothing_left(server)


def test_a_database_of_a_newer_version_is_refused_with_a_sentence_and_left_alone(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    server.run({"name": "some", "steps": ["true"]})
    server.stop()
    server.sql(
        "INSERT INTO tortoise_migrations (app, name, applied_at) "
        "VALUES ('rapidflow', '9999_later', '2030-01-01')"
    )
    files = {path.name for path in server.data.iterdir()}
    for arguments in (["serve"], ["doctor"], ["backup", str(server.data.parent / "b.tar")]):
        done = server.command(*arguments)
        assert done.returncode == 2, arguments
        assert done.stderr == (
            "rapidflow: the database was made by a newer version of RapidFlow Web (it has 9999_later); "
            "install that version, or restore a backup from before.\n"
        )
    assert {path.name for path in server.data.iterdir()} - {"lock"} == files - {"lock"}
