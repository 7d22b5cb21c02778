"""A job's log: one append-only file that is the stream, byte for byte, and the index beside it.

Readers pull from their own offset; the writer only wakes them. So a slow reader costs nothing and loses
nothing, and there is no seam between what is replayed and what is live.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import time
import weakref
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from rapidflow_web.errors import LogUnreadable
from rapidflow_web.logs.compressed import Damaged, compress, damaged_of, path_of
from rapidflow_web.logs.files import File, open_file
from rapidflow_web.logs.index import Kind, Layout, Record, load
from rapidflow_web.logs.writer import LogWriter

_logger = logging.getLogger(__name__)

CHUNK = 256 * 1024
"""Bytes that are read at once: large enough to be fast, small enough for memory to stay flat."""

_RECENT = 32
"""Finished logs that are kept open."""
SERVICE_FILE = re.compile(r"([a-z0-9-]+)\.(?:log|index)(?:\.zst(\.new|\.damaged)?)?")
"""The name of a file of a service's log: the service's name, and the end of a file that is no log itself."""
_LEAST_COMPRESSED = 4096
"""Bytes of a file that is worth it: on the disk it would take as much."""


class Log:
    """The reading side. `size` is the number of bytes there are now; a sealed log stays as it is."""

    def __init__(self, path: Path, records: list[Record], name: str | None = None) -> None:
        self.path = path
        """The file, which is not there any more once there is its compressed form (see `files.open_file`)."""
        self._name = name or f"the log of job {path.stem}"
        self.layout = Layout()
        for record in records:
            self.layout.add(record)
        self.size = records[-1].size if records else 0
        self.lines = records[-1].lines if records else 0
        """Newlines in it."""
        self.followers = 0
        self.latest: tuple[int, bytes] = (0, b"")
        """Offset and bytes of the last append, for readers who are that near: it need not be read back."""
        self._file: File | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def sealed(self) -> bool:
        """Whether the build has ended and its last line is there."""
        return self.layout.final is not None

    async def read(self, offset: int, limit: int = CHUNK) -> bytes:
        """Up to `limit` bytes from `offset`; fewer only at the end. Never blocks the loop on a disk.

        Raises `LogUnreadable`.
        """
        count = min(limit, self.size - offset)
        if count <= 0:
            return b""
        at, latest = self.latest
        if at <= offset and offset - at + count <= len(latest):
            return latest[offset - at : offset - at + count]
        try:
            if self._file is None:
                self._file = open_file(self.path)
            data = self._file.read_now(offset, count)
            if data is None:
                data = await asyncio.to_thread(self._file.read, offset, count)
        except FileNotFoundError:
            raise self._missing() from None
        except Damaged as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            _logger.error("%s can't be read: %s", self._name, error)
            raise LogUnreadable(f"{self._name} can't be read: {error.strerror or error}") from error
        if not data:
            raise self._damaged(f"its file ends before byte {offset}")
        return data

    def expect(self, stored_size: int | None) -> None:
        """Raises `LogUnreadable` where a log is not there as it was stored, with `stored_size` bytes."""
        if stored_size and not self.size:
            raise self._missing()
        if stored_size and self.size != stored_size:
            raise self._damaged(f"it has {self.size} bytes instead of {stored_size}")

    def expect_sealed(self) -> None:
        """Raises `LogUnreadable` where a log of a build that has ended is there and has no end."""
        files = _files(self.path)
        if not self.sealed and any(file.exists() for file in (*files, *map(path_of, files))):
            raise self._damaged("its index does not fit it")

    def _damaged(self, reason: str) -> LogUnreadable:
        # Here, because what has begun to be sent can't say it to anybody else.
        _logger.error("%s can't be read: %s", self._name, reason)
        return LogUnreadable(f"{self._name} is damaged; stop the server and run 'rapidflow doctor --fix'")

    def _missing(self) -> LogUnreadable:
        _logger.error("%s is missing", self._name)
        return LogUnreadable(f"{self._name} is missing; 'rapidflow doctor' tells more")

    async def tail(self, lines: int, start: int) -> int:
        """The offset, not before `start`, at which the last `lines` lines begin."""
        if lines <= 0:
            return self.size
        position = end = self.size
        missing = lines
        while position > start:
            begin = max(start, position - CHUNK)
            block = await self.read(begin, position - begin)
            found = len(block)
            if position == end and block.endswith(b"\n"):
                found -= 1  # the newline that ends the last line begins no other
            if (newlines := block.count(b"\n", 0, found)) < missing:
                missing -= newlines
                position = begin
                await asyncio.sleep(0)  # a log in memory is read without a pause for others
                continue
            for _ in range(missing):
                found = block.rfind(b"\n", 0, found)
            return begin + found + 1
        return start

    async def changed(self) -> None:
        """Returns after the next change: more bytes, another step, the seal."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def wake(self) -> None:
        """Lets everybody who waits for a change look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


_Key = tuple[int, str | None]
"""A job and, where it is the log of one, its service."""


class LogStore:
    """All logs, in `folder`: a thousand jobs to a subfolder, so that none grows too large to list.

    A job has a log of its own, and one for each of its services, in a folder beside it. What is said of a
    job's log without a `service` is about the first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recent: OrderedDict[_Key, Log] = OrderedDict()
        self._live: weakref.WeakValueDictionary[_Key, Log] = weakref.WeakValueDictionary()

    def path(self, job_id: int, service: str | None = None) -> Path:
        """The log's file; its index has the suffix .index."""
        if service is not None:
            return self._services(job_id) / f"{service}.log"
        return self._folder / f"{job_id // 1000:04}" / f"{job_id}.log"

    def open(self, job_id: int, service: str | None = None) -> Log:
        """The log of a job, which may not have begun. All readers and the writer of a live log share it."""
        key = job_id, service
        log = self._live.get(key)
        if log is None:
            path = self.path(job_id, service)
            name = f"the log of the service {service} of job {job_id}" if service is not None else None
            log = self._live[key] = Log(path, _load(path)[0], name)
        if log.sealed:
            # It stays as it is, and an index that is long takes time to read.
            self._recent[key] = log
            self._recent.move_to_end(key)
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return log

    def writer(self, job_id: int, limit: int | None = None, service: str | None = None) -> LogWriter:
        """The writer of a log that is not sealed, going on where the last one was cut off.

        `limit` is the number of bytes from which on it only keeps the end of each step's output.
        """
        return LogWriter(self.open(job_id, service), *_load(self.path(job_id, service)), limit)

    def services(self, job_id: int) -> list[str]:
        """The names of the services that have a log."""
        try:
            names = [entry.name for entry in os.scandir(self._services(job_id))]
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Others may have put something there.
        return sorted({found[1] for name in names if (found := SERVICE_FILE.fullmatch(name))})

    def unsealed_services(self, job_id: int) -> list[str]:
        """The names of the services whose log goes on, or has readers who wait for it to begin."""
        waited_for = {name for job, name in self._live if job == job_id and name is not None}
        return [name for name in {*self.services(job_id), *waited_for} if not self.open(job_id, name).sealed]

    def compress(self, job_id: int) -> int:
        """Compresses the sealed logs of a job; returns the bytes that they take. Safe to call again.

        Readers notice nothing. Blocks for as long as there is to compress. Raises `OSError`.
        """
        taken = 0
        logs = [self.path(job_id), *(self.path(job_id, name) for name in self.services(job_id))]
        for path in (file for log in logs for file in _files(log)):
            packed = path_of(path)
            if path.exists():
                if path.stat().st_size < _LEAST_COMPRESSED:
                    taken += path.stat().st_size
                    continue
                compress(path, packed)
                path.unlink()
            taken += packed.stat().st_size if packed.exists() else 0
        return taken

    def keep_the_rest(self, job_id: int) -> None:
        """Accounts for what a damaged log has after its last record, so that a writer does not cut it off."""
        path, index = _files(self.path(job_id))
        records, index_size = _load(path)
        if not path.exists() or not records or records[-1].kind not in (Kind.START, Kind.CHECK):
            return
        last = records[-1]
        with path.open("rb") as file:
            file.seek(last.size)
            rest = file.read()
        end = replace(
            last,
            kind=Kind.CHECK,
            at=last.size,
            size=last.size + len(rest),
            lines=last.lines + rest.count(b"\n"),
        )
        with index.open("r+b") as file:
            file.truncate(index_size)
            file.seek(index_size)
            file.write(end.pack())

    def delete_service(self, job_id: int, service: str) -> None:
        """Removes the log of a service that is begun anew; no harm if there is none."""
        self._forget(job_id, service)
        _delete(self.path(job_id, service))

    def set_aside(self, job_id: int, folder: Path) -> bool:
        """Moves the log of a job that has not begun to `folder`; says whether there was one.

        It is that of a job of the same number, in a database that is lost or was replaced by an older one.
        """
        services = self._services(job_id)
        files = [file for path in _files(self.path(job_id)) for file in (path, path_of(path))]
        found = [file for file in (*files, services) if file.exists()]
        if found:
            # Only then: who waits for the job to begin has its log open.
            for name in (None, *self.services(job_id)):
                self._forget(job_id, name)
        for file in found:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.rename(folder / f"{file.name}.{time.time_ns()}")
        return bool(found)

    def delete(self, job_id: int) -> None:
        """Removes the logs of a job; no harm if there are none. Raises `OSError`."""
        for name in self.services(job_id):
            self.delete_service(job_id, name)
        self._forget(job_id, None)
        _delete(self.path(job_id))
        try:
            self._services(job_id).rmdir()
        except OSError as error:
            # What others have put there is not the build's; 'rapidflow doctor' finds it.
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.ENOTDIR):
                raise

    def _services(self, job_id: int) -> Path:
        return self._folder / f"{job_id // 1000:04}" / f"{job_id}.services"

    def _forget(self, job_id: int, service: str | None) -> None:
        self._recent.pop((job_id, service), None)
        self._live.pop((job_id, service), None)


def _files(path: Path) -> tuple[Path, Path]:
    """The files of the log at `path`."""
    return path, path.with_suffix(".index")


def _load(log: Path) -> tuple[list[Record], int]:
    path, index = _files(log)
    try:
        file = open_file(path)
    except FileNotFoundError:
        return load(index, 0)
    size = file.size
    file.close()
    return load(index, size)


def _delete(log: Path) -> None:
    for path in _files(log):
        for file in path, path_of(path), _begun(path), damaged_of(path_of(path)):
            file.unlink(missing_ok=True)


def _begun(path: Path) -> Path:
    """The compressed form of a file while it is made; a killed server leaves it."""
    return path.with_name(f"{path_of(path).name}.new")
