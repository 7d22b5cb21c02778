"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.server import free_port


class Postgres:
    """Empty, on loopback. Its programs refuse to run as root, so root runs them as `postgres`."""

    def __init__(self) -> None:
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._folder = Path(tempfile.mkdtemp(prefix="rf-postgres-"))
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self._folder, self._user)
        self.port = free_port()
        self._run("initdb", "--pgdata", "data", "--auth", "trust", "--username", "builds", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        """What to set RAPIDFLOW_DATABASE_URL to."""
        return f"postgres://builds:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it; what was stored is there again."""
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories= -F"
        self._run("pg_ctl", "start", "--pgdata", "data", "--wait", "--log", "log", "--options", options)

    def stop(self) -> None:
        """Ends it at once, with all connections."""
        self._run("pg_ctl", "stop", "--pgdata", "data", "--mode", "immediate", "--wait")

    def sql(self, statement: str) -> None:
        """Changes what is stored."""
        self._run("psql", "--dbname", self.url, "--command", statement)

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
