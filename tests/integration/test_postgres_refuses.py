"""PostgreSQL that lets the server in no more, or only lets it read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres
from tests.support.server import Server


@pytest.fixture
def postgres(kept_postgres: Path) -> Iterator[Postgres]:
    """One of its own: its settings are changed for all of its users."""
    database = Postgres(kept_postgres)
    yield database
    database.close()


@pytest.fixture
def server(new_server: Callable[..., Server], postgres: Postgres) -> Server:
    """One that has run on the database, and was stopped."""
    server = new_server(database_url=postgres.url, executor="process").start()
    server.stop()
    return server


@pytest.mark.parametrize("command", [("doctor",), ("user", "list"), ("backup", "-")])
def test_commands_say_that_the_password_is_wrong(
    postgres: Postgres, server: Server, command: tuple[str, ...]
) -> None:
    postgres.sql("CREATE ROLE other LOGIN PASSWORD 'right'")
    postgres.require_password("other")
    server.set(database_url=postgres.url.replace("builds:secret", "other:wrong"))
    done = server.command(*command)
    assert (done.returncode, done.stderr) == (
        2,
        f"rapidflow: the database postgres://127.0.0.1:{postgres.port}/postgres can't be opened: "
        'password authentication failed for user "other".\n',
    )


def test_user_without_rights_does_not_find_an_old_database(postgres: Postgres, server: Server) -> None:
    postgres.sql("CREATE ROLE other LOGIN")
    server.set(database_url=postgres.url.replace("builds:secret", "other:any"))
    done = server.command("doctor")
    assert done.returncode == 2
    assert done.stderr.endswith("can't be opened: permission denied for table tortoise_migrations.\n")


def test_builds_wait_while_the_database_is_read_only(postgres: Postgres, server: Server) -> None:
    server.start()
    job_id = server.start_job(
        {"name": "x", "steps": ["echo one; until [ -e go ]; do sleep 0.1; done", "echo 2"]}
    )
    server.wait_output(job_id, "one")
    postgres.set("default_transaction_read_only", "on")
    (server.data / "work" / str(job_id) / "workspace" / "go").touch()
    answer = server.post("/pipelines", {"name": "y", "config": "name: y\nsteps: ['true']"})
    assert answer.status == 500
    assert answer.json["error"] == (
        "the database can't be used now (cannot execute INSERT in a read-only transaction); try again later"
    )
    assert server.get("/ready").status == 503
    assert "the database takes no changes" in server.get("/ready").json["database"]
    assert "Traceback" not in server.log.read_text()

    server.stop()
    with pytest.raises(
        AssertionError, match="can't be used: cannot execute DELETE in a read-only transaction"
    ):
        server.start()
    assert "Traceback" not in server.log.read_text()
    postgres.set("default_transaction_read_only", "off")
    server.start()
    assert server.wait_finished(job_id)["job"]["status"] == "success"
    assert server.get("/ready").status == 200


def test_password_is_no_argument_of_a_program(postgres: Postgres, server: Server, tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$@" >{told}\nexec {postgres.programs}/pg_dump "$@"\n')
    program.chmod(0o755)
    server.set_path(f"{tmp_path}:{os.environ['PATH']}")
    # An option of our own driver, which the programs do not know.
    server.set(database_url=f"{postgres.url}?max_size=2")
    done = server.command("backup", str(tmp_path / "backup.tar"))
    assert done.returncode == 0, done.stderr
    assert "--format=custom" in told.read_text() and "secret" not in told.read_text()
