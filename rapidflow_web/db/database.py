"""Opens the database, brings its tables up to date, closes it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import logging
import pkgutil
import shutil
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import closing
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from tortoise import Tortoise, connections
from tortoise.backends.base.config_generator import expand_db_url  # pyright: ignore[reportUnknownVariableType]
from tortoise.exceptions import (
    DBConnectionError,
    IntegrityError,
    OperationalError,
    TransactionManagementError,
)

from rapidflow_web import private_files
from rapidflow_web.db import postgres_programs, sqlite_client
from rapidflow_web.db.sql import dialect, rows
from rapidflow_web.errors import DatabaseError
from rapidflow_web.shielding import to_the_end

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_MIGRATIONS = "rapidflow_web.db.migrations"
_APPLIED = "SELECT name FROM tortoise_migrations WHERE app = 'rapidflow' ORDER BY name"
SCHEMA = Path(__file__).with_name("schema.sql")
"""The tables that a new SQLite database begins with; `scripts/schema.py` writes them."""
_RETRY_SECONDS = 1.0
_TRIES_PER_WARNING = 60
_is_command = ContextVar("_is_command", default=False)
"""Whether a command uses the database, beside a server or without one."""
_LEAST_FREE = 1024**2
"""Bytes without which SQLite can't open a database: it makes files beside it."""
_AWAY = (OperationalError, DBConnectionError, TransactionManagementError, sqlite3.OperationalError, OSError)
"""A database that only takes reads, such as one that became a standby, is an error of the transaction."""
_NO_TABLE = "42P01"
"""PostgreSQL's code for a table that is not there; it says so in the language of its machine."""


def tortoise_config(url: str) -> dict[str, Any]:
    """What Tortoise is given, here and by its command line (`make migration`)."""
    database = cast("dict[str, Any]", expand_db_url(url))
    if url.startswith("sqlite://"):
        database["engine"] = sqlite_client.__name__
    return {
        "connections": {"default": database},
        "apps": {
            "rapidflow": {
                "models": ["rapidflow_web.db.models", "rapidflow_web.db.trigger_models"],
                "migrations": _MIGRATIONS,
                "default_connection": "default",
            }
        },
    }


TORTOISE_ORM = tortoise_config("sqlite://:memory:")


def sqlite_url(path: Path) -> str:
    """The URL of a database file, with the settings that it is fast and safe with."""
    return f"sqlite://{path}?journal_mode=WAL&synchronous=NORMAL&busy_timeout=5000"


def now_ms() -> int:
    """The time as the tables hold it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def open_database(url: str, copies: Path | None = None) -> None:
    """Connects and migrates. Raises `DatabaseError` where the database can't be used, and leaves it alone.

    Before it is migrated, it is copied: an SQLite file beside itself, another database into `copies`.
    """
    try:
        await _migrate(url, copies)
        await Tortoise.init(config=tortoise_config(url), _enable_global_fallback=True)
    except BaseException as error:
        await close_database()
        if is_of_database(error) or isinstance(error, OSError):
            raise _unopened(url, error) from error
        raise


def _unopened(url: str, error: BaseException) -> DatabaseError:
    path = sqlite_path(url)
    # SQLite calls it an I/O error.
    with contextlib.suppress(OSError):
        if path is not None and shutil.disk_usage(path.parent).free < _LEAST_FREE:
            return DatabaseError(f"the database {path} can't be opened: its disk is full ({error}).")
    return DatabaseError(f"the database {without_password(url)} can't be opened: {error}.")


async def close_database() -> None:
    """Closes all connections; forgotten, it would keep the process from ending."""
    await Tortoise.close_connections()


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncGenerator[None]:
    """Meanwhile there is a connection to a database that is up to date, beside that of a server.

    Raises `DatabaseError`.
    """
    try:
        path = sqlite_path(url)
        if path is not None and not path.exists():
            raise DatabaseError(f"there is no database {path}; set RAPIDFLOW_DATA as for the server.")
        known, applied = _known(), await _applied(url)
        _refuse_newer(known, applied)
        if set(known) != set(applied):
            raise DatabaseError(
                "the database is of an older version; start the server once to bring it up to date."
            )
        await Tortoise.init(config=tortoise_config(url), _enable_global_fallback=True)
    except Exception as error:
        await close_database()
        if is_of_database(error) or isinstance(error, OSError):
            raise _unopened(url, error) from error
        raise
    _is_command.set(True)
    try:
        with named(url):
            yield
    finally:
        _is_command.set(False)
        await close_database()


async def is_read_only() -> bool:
    """Whether PostgreSQL takes no changes, such as a standby; of an SQLite database only a change tells."""
    return dialect() == "postgres" and (await rows("SHOW transaction_read_only"))[0][0] == "on"


async def rewrite() -> None:
    """Leaves nothing in the file of an SQLite database of what was changed or deleted in it."""
    if dialect() == "sqlite":
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            await rows(statement)


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite database; None for any other."""
    return Path(url.removeprefix("sqlite://").partition("?")[0]) if url.startswith("sqlite://") else None


def _known() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(importlib.import_module(_MIGRATIONS).__path__)]


def _refuse_newer(known: Sequence[str], applied: Sequence[str]) -> None:
    if unknown := sorted(set(applied) - set(known)):
        raise DatabaseError(
            f"the database was made by a newer version of RapidFlow Web (it has {unknown[-1]}); "
            "install that version, or restore a backup from before."
        )


async def _migrate(url: str, copies: Path | None) -> None:
    known, path = _known(), sqlite_path(url)
    if path is not None:
        await asyncio.to_thread(_prepare_file, path)
    applied = await _applied(url)
    _refuse_newer(known, applied)
    if set(known) == set(applied):
        return
    if path is not None:
        if applied:
            await asyncio.to_thread(_back_up, path, applied[-1])
        # SQLite migrations rebuild tables by dropping them; with foreign keys on, that would delete their
        # children's rows.
        url = f"{url}{'&' if '?' in url else '?'}foreign_keys=OFF"
    elif applied and copies is not None:
        await asyncio.to_thread(_dump, url, copies / f"postgres.before-{applied[-1]}-{int(time.time())}.dump")
    from tortoise.migrations.api import migrate  # only needed here, and slow to import

    await migrate(config=tortoise_config(url), direction="forward")
    await Tortoise.close_connections()


async def _applied(url: str) -> list[str]:
    """Names of the migrations that the database has, oldest first."""
    try:
        if (path := sqlite_path(url)) is not None:
            # Tortoise would prepare all models for this one query, in 30 ms.
            return await asyncio.to_thread(_applied_to_file, path)
        await Tortoise.init(config=tortoise_config(url))
        try:
            return [row["name"] for row in await connections.get("default").execute_query_dict(_APPLIED)]
        finally:
            await Tortoise.close_connections()
    except (OperationalError, sqlite3.OperationalError) as error:
        # PostgreSQL also names the table where it may not be read.
        code = getattr(error.__cause__, "sqlstate", _NO_TABLE)
        if "tortoise_migrations" in str(error) and code == _NO_TABLE:
            return []  # a new database
        raise


def _applied_to_file(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute(_APPLIED)]


def _prepare_file(path: Path) -> None:
    """Makes the tables of a new database: all migrations would take seconds, and memory that stays.

    Raises what is wrong with the file, before the library leaves a thread behind that fails on it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_files.make(path)
    for name in ("wal", "shm"):
        # New ones have the mode of the database.
        private_files.close(path.with_name(f"{path.name}-{name}"))
    with closing(sqlite3.connect(path)) as database:
        if database.execute("SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)").fetchone()[0]:
            database.executescript(SCHEMA.read_text())


def _back_up(path: Path, version: str) -> None:
    target = path.with_name(f"{path.stem}.before-{version}-{int(time.time())}{path.suffix}")
    private_files.make(target)
    with sqlite3.connect(path) as source, sqlite3.connect(target) as backup:
        source.backup(backup)
    source.close()
    backup.close()


def _dump(url: str, target: Path) -> None:
    try:
        postgres_programs.dump(url, target)
    except DatabaseError as error:
        # Who runs PostgreSQL has backups of it, and may have none of its programs on this machine.
        _log.warning("no copy of the database is made before it is brought up to date: %s", error)


def without_password(url: str) -> str:
    """A URL of a database as people may see it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}".partition("?")[0]


def is_away(error: Exception) -> bool:
    """Whether a database that is full, locked or away raised this, which may be better in a moment."""
    if isinstance(error, IntegrityError):  # a kind of OperationalError to Tortoise
        return False
    # Tortoise passes on what the driver for PostgreSQL says of lost connections; it is not always installed.
    lost = type(error).__module__.startswith("asyncpg.")
    return lost or isinstance(error, _AWAY)


def is_of_database(error: BaseException) -> bool:
    """Whether a database, or the connection to it, raised this; also where that does not pass by itself.

    An error of the system that is none of a connection may be one of any file.
    """
    if not isinstance(error, Exception) or (
        isinstance(error, OSError) and not isinstance(error, ConnectionError)
    ):
        return False
    return is_away(error) or isinstance(error, IntegrityError | sqlite3.Error)


@contextlib.contextmanager
def named(url: str) -> Generator[None]:
    """Says of what the database raises meanwhile that it can't be used, by `DatabaseError`."""
    try:
        yield
    except Exception as error:
        if is_of_database(error):
            raise DatabaseError(f"the database {without_password(url)} can't be used: {error}.") from error
        raise


def patient(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Tries a database call again while the database can't be written, for example on a full disk.

    What waits can be cancelled. For calls that are safe to make again. A command does not wait: whoever gave
    it sees the error, and gives it again.
    """

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        tries = 0
        while True:
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                if _is_command.get() or not is_away(error):
                    raise
                if tries % _TRIES_PER_WARNING == 0:
                    _log.warning("the database can't be written; trying again: %s", error)
                tries += 1
                await asyncio.sleep(_RETRY_SECONDS)

    return call


def uncancelled(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Lets a database call run to its end, also when its caller is cancelled.

    A cancelled transaction would leave Tortoise's lock taken for ever, and later writes with it.
    """

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await to_the_end(function(*args, **kwargs))

    return call
