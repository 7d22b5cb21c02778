"""Whether the database makes sense in itself: its file, what rows refer to, the states of jobs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from rapidflow_web.db import job_steps, retention
from rapidflow_web.logs import stream_text
from rapidflow_web.logs.log import CHUNK, LogStore
from rapidflow_web.maintenance.finding import Finding

_RESTORE = "stop the server and restore a backup"


async def file_findings(path: Path, server_runs: bool) -> list[Finding]:
    """What is wrong with an SQLite file; where that can't be mended, nothing more should be asked of it."""
    try:
        damage, strays = await asyncio.to_thread(_examined, path)
    except sqlite3.OperationalError as error:
        # A full disk, or one that fails: this says nothing of the database.
        return [Finding(f"the database can't be examined ({error}); see whether its disk is full or failing")]
    except sqlite3.DatabaseError as error:
        damage, strays = str(error), {}
    if damage is not None:
        return [Finding(f"the database is damaged ({damage}); {_RESTORE}")]
    findings: list[Finding] = []
    for (table, goes_with_parent), row_ids in strays.items():
        count = "a row" if len(row_ids) == 1 else f"{len(row_ids)} rows"
        what = f"{count} of {table} in the database refer{'s' * (len(row_ids) == 1)} to nothing"
        if not goes_with_parent:
            findings.append(Finding(f"{what}; {_RESTORE}"))
        elif server_runs:
            findings.append(Finding(f"{what}; stop the server to have them removed"))
        else:
            findings.append(Finding(what, _removal(path, table, row_ids)))
    return findings


def damage_of(database: sqlite3.Connection) -> str | None:
    """What SQLite says is damaged first, if anything; reads all of the file. Raises `sqlite3.Error`."""
    found: str = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    return None if found == "ok" else " ".join(found.split())


def _examined(path: Path) -> tuple[str | None, dict[tuple[str, bool], list[int]]]:
    """The damage; and ids of rows whose parents are gone, by table and whether they were to go as well."""
    with closing(sqlite3.connect(path)) as database:
        if (damage := damage_of(database)) is not None:
            return damage, {}
        strays: dict[tuple[str, bool], list[int]] = {}
        for table, row_id, _, key in database.execute("PRAGMA foreign_key_check").fetchall():
            keys = database.execute(f"PRAGMA foreign_key_list({table})").fetchall()
            goes = next(row[6] for row in keys if row[0] == key) == "CASCADE"
            strays.setdefault((table, goes), []).append(row_id)
        return None, strays


def _removal(path: Path, table: str, row_ids: list[int]) -> Callable[[], Awaitable[None]]:
    def remove() -> None:
        statement = f"DELETE FROM {table} WHERE rowid = ?"  # noqa: S608 - a name out of the schema
        with closing(sqlite3.connect(path)) as database, database:
            database.executemany(statement, [(row_id,) for row_id in row_ids])

    return lambda: asyncio.to_thread(remove)


class StateCheck:
    """Examines the states of jobs and steps. The logs in `folder` tell how jobs really ended."""

    def __init__(self, folder: Path) -> None:
        self._logs = LogStore(folder)

    async def findings(self) -> AsyncIterator[Finding]:
        """All states that no job and no step can have."""
        for job_id, status in await retention.with_running_steps():
            what = f"a step of job {job_id} is running, though the job has finished"
            yield Finding(what, partial(job_steps.end_running, job_id, status))
        for job_id, status in await retention.sealed_but_unfinished():
            what = f"job {job_id} is {status}, though its log has ended"
            yield Finding(what, self._ends_as_its_log_says(job_id))
        for job_id in await retention.finished_without_time():
            what = f"job {job_id} has ended, and nothing says when"
            yield Finding(what, partial(retention.give_a_time, job_id))

    def _ends_as_its_log_says(self, job_id: int) -> Callable[[], Awaitable[None]]:
        async def mend() -> None:
            log = self._logs.open(job_id)
            final = await log.read(log.layout.final or log.size, CHUNK)
            await retention.set_end(job_id, *stream_text.end_of(final))

        return mend
