"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.databases import migrate
from tests.support.server import free_port


class Postgres:
    """On loopback. Its programs refuse to run as root, so root runs them as `postgres`."""

    def __init__(self, kept: Path, *, tables: bool = True) -> None:
        """Starts with a copy of what is in the folder `kept`, which others can make at the same time.

        What is not there yet is made first, which takes seconds: an empty server, and one with our `tables`.
        """
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._folder = Path(tempfile.mkdtemp(prefix="rf-postgres-"))
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self._folder, self._user)
        self.port = free_port()
        kept.mkdir(exist_ok=True)
        with (kept / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._take(kept / "empty", self._make)
            if tables:
                self._take(kept / "tables", self._make_tables)
        self.start()

    def _make(self) -> None:
        self._run("initdb", "--pgdata", "data", "--auth", "trust", "--username", "builds", "--no-sync")

    def _make_tables(self) -> None:
        self.start()
        migrate(self.url)
        self.stop("fast")

    def _take(self, kept: Path, make: Callable[[], None]) -> None:
        if not kept.exists():
            make()
            subprocess.run(["cp", "--archive", self._folder / "data", kept], check=True)
        else:
            shutil.rmtree(self._folder / "data", ignore_errors=True)
            subprocess.run(["cp", "--archive", kept, self._folder / "data"], check=True)

    @property
    def url(self) -> str:
        """What to set RAPIDFLOW_DATABASE_URL to."""
        return f"postgres://builds:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it; what was stored is there again."""
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories= -F"
        self._run("pg_ctl", "start", "--pgdata", "data", "--wait", "--log", "log", "--options", options)

    def stop(self, mode: str = "immediate") -> None:
        """Ends it at once, with all connections."""
        self._run("pg_ctl", "stop", "--pgdata", "data", "--mode", mode, "--wait")

    def create(self, name: str) -> str:
        """Makes another database, without tables; returns its URL."""
        self.sql(f"CREATE DATABASE {name}")
        return f"{self.url.rpartition('/')[0]}/{name}"

    def sql(self, statement: str, url: str = "", given: str = "") -> None:
        """Changes what is stored; `given` is what the statement reads."""
        self._psql(statement, url, given)

    def set(self, name: str, value: str) -> None:
        """Sets a parameter for all connections, also for those that are open."""
        self.sql(f"ALTER SYSTEM SET {name} = {value}")
        self.sql("SELECT pg_reload_conf()")

    def require_password(self, user: str) -> None:
        """Lets a user in by its password only; all others are let in by their name."""
        rules = self._folder / "data" / "pg_hba.conf"
        rules.write_text(f"host all {user} all scram-sha-256\n{rules.read_text()}")
        self.sql("SELECT pg_reload_conf()")

    def value(self, query: str, url: str = "", *, trim: bool = True) -> str:
        """What a query prints, such as a single value; with `trim` without spaces and newlines around it."""
        printed = self._psql(query, url)
        return printed.strip() if trim else printed

    def _psql(self, statement: str, url: str, given: str = "") -> str:
        command = [str(self.programs / "psql"), "--dbname", url or self.url, "--tuples-only", "--no-align"]
        return subprocess.run(
            [*command, "--set", "ON_ERROR_STOP=1", "--command", statement],
            input=given,
            check=True,
            capture_output=True,
            text=True,
            cwd=self._folder,
        ).stdout

    def close(self) -> None:
        """Ends it and forgets all."""
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        subprocess.run(
            command,
            cwd=self._folder,
            user=self._user if os.geteuid() == 0 else None,
            env={**os.environ, "HOME": str(self._folder)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
