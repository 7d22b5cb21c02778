"""Dumps and restores PostgreSQL databases by its own programs, `pg_dump` and `pg_restore`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, cast

from tortoise.backends.base.config_generator import expand_db_url  # pyright: ignore[reportUnknownVariableType]

from rapidflow_web import private_files
from rapidflow_web.errors import DatabaseError

_VARIABLES = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGDATABASE": "database",
}


def dump(url: str, target: Path) -> None:
    """Writes the database to a file, for `restore`. Raises `DatabaseError`."""
    private_files.make(target)
    schema = _credentials(url).get("schema")
    chosen = [f"--schema={schema}"] if schema else []
    try:
        _run(url, "pg_dump", "--format=custom", "--no-owner", *chosen, f"--file={target}")
    except DatabaseError:
        target.unlink()
        raise


def restore(dumped: Path, url: str) -> None:
    """Restores all of a dump, or nothing. Raises `DatabaseError` with the words of the program."""
    database = _credentials(url).get("database") or ""
    options = ("--no-owner", "--single-transaction", "--exit-on-error", f"--dbname={database}")
    _run(url, "pg_restore", *options, str(dumped))


def _run(url: str, *command: str) -> None:
    # Other users of the machine see the arguments of a program, but not its variables. The programs also
    # refuse URLs with options that are those of our own driver.
    credentials = _credentials(url)
    named = {name: str(credentials[key]) for name, key in _VARIABLES.items() if credentials.get(key)}
    if credentials.get("ssl") and "PGSSLMODE" not in os.environ:  # which may ask for more
        named["PGSSLMODE"] = "require"
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, env={**os.environ, **named}
        )
    except FileNotFoundError:
        raise DatabaseError(f"{command[0]} is missing; install the client programs of PostgreSQL") from None
    if done.returncode != 0:
        raise DatabaseError(f"{command[0]} failed: {' '.join(done.stderr.split())[-500:]}")


def _credentials(url: str) -> dict[str, Any]:
    return cast("dict[str, Any]", expand_db_url(url))["credentials"]
