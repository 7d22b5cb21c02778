"""Keeps a second server away from a database, wherever its data folder is.

Two servers would run each job twice. The lock of the data folder does not keep away one that has another
data folder. On PostgreSQL the lock belongs to a connection that is open as long as the server runs, so it is
gone with the server, however that ends. Commands don't need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any, cast

from tortoise.backends.base.config_generator import expand_db_url  # pyright: ignore[reportUnknownVariableType]

from rapidflow_web import private_files
from rapidflow_web.db.database import sqlite_path, without_password
from rapidflow_web.errors import DatabaseError

_log = logging.getLogger(__name__)

_KEY = 0x5261706F
"""Any number that nobody else takes."""
_LOCK = f"SELECT pg_try_advisory_lock({_KEY}, hashtext(current_schema()))"
_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 5.0
_RETRY_SECONDS = 0.2
_TRIES = 6
_PAUSE_SECONDS = 0.5
"""Between two tries of a server that starts: that the last one has ended may not be known yet."""
_CREDENTIALS = ("host", "port", "user", "password", "database", "ssl")
_KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Seconds: after half a minute, the database lets go of a server whose machine is gone."""


@contextlib.asynccontextmanager
async def owned(url: str, data: Path, lost: Callable[[], None]) -> AsyncGenerator[None]:
    """Meanwhile no other server has the database. `data` is the data folder, which is owned already.

    Raises `DatabaseError` where another has it. `lost` is called if another gets it: while the database was
    restarted, a server may have started that did not know of this one.
    """
    path = sqlite_path(url)
    if path is not None:
        with _file_owned(path, url) if path.parent != data else contextlib.nullcontext():
            yield
        return
    owner = _Owner(url)
    for tries in range(_TRIES):
        if await owner.take():
            break
        if tries == _TRIES - 1:
            await owner.close()
            raise _in_use(url)
        await asyncio.sleep(_PAUSE_SECONDS)
    watching = asyncio.create_task(owner.watch(lost))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        await owner.close()


def _in_use(url: str) -> DatabaseError:
    return DatabaseError(
        f"another server uses the database {without_password(url)}; stop it, or set RAPIDFLOW_DATABASE_URL."
    )


@contextlib.contextmanager
def _file_owned(path: Path, url: str) -> Generator[None]:
    with contextlib.ExitStack() as opened:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = opened.enter_context(
                open(path.with_name(f"{path.name}.lock"), "w", opener=private_files.opener)
            )
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(url) from None
        except OSError as error:
            raise DatabaseError(f"the database {without_password(url)} can't be opened: {error}.") from error
        yield


class _Owner:
    """The connection that holds the lock of a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._ended = asyncio.Event()

    async def take(self) -> bool:
        """Whether the database is ours from now on. Raises `DatabaseError` where it can't be reached."""
        try:
            if self._connection is None:
                self._connection = await self._connect()
            return cast(bool, await self._connection.fetchval(_LOCK, timeout=_CONNECT_SECONDS))
        except Exception as error:
            # asyncpg has some forty kinds, and those of the operating system come as they are.
            await self.close()
            reason = str(error) or type(error).__name__
            raise DatabaseError(
                f"the database {without_password(self._url)} can't be opened: {reason}."
            ) from error

    async def _connect(self) -> Any:
        import asyncpg  # pyright: ignore[reportMissingTypeStubs]  # not everybody has it

        described = cast("dict[str, Any]", expand_db_url(self._url))["credentials"]
        credentials = {name: described[name] for name in _CREDENTIALS if described.get(name) is not None}
        schema = {"search_path": described["schema"]} if described.get("schema") else {}
        connection: Any = await cast(Any, asyncpg).connect(
            **credentials, timeout=_CONNECT_SECONDS, server_settings={**_KEEPALIVE, **schema}
        )
        self._ended.clear()
        connection.add_termination_listener(self._note_end)
        return connection

    def _note_end(self, connection: Any) -> None:
        if connection is self._connection:
            self._ended.set()

    async def watch(self, lost: Callable[[], None]) -> None:
        """Takes the lock again whenever its connection ends; calls `lost` and returns if another has it."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._ended.wait()
            try:
                if not self._ended.is_set():
                    await self._connection.fetchval("SELECT 1", timeout=_CONNECT_SECONDS)
                    continue
            except Exception as error:
                _log.debug("%s", error)
            await self.close()
            if not await self._taken_again():
                lost()
                return

    async def _taken_again(self) -> bool:
        while True:
            try:
                return await self.take()
            except DatabaseError as error:
                _log.debug("%s", error)  # whoever uses the database says it
            await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Lets go of the lock."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.terminate()
