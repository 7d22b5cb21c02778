"""Backup and restore: one tar file with the database, the logs and the keys of an installation.

Only the key of the secrets is not in it: with that beside them they would be in the clear.

A backup is made beside a running server. The database is a snapshot; the log of a build that runs is as it
was a moment later, and goes on from there when a restored server takes the build up. Mirrors are left out:
the next build of a repository fetches it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import sqlite3
import stat
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from rapidflow_web import __version__, private_files
from rapidflow_web.data_folder import DataFolder, check_is_whole, locked, make_folder
from rapidflow_web.db import jobs, postgres_programs, secrets
from rapidflow_web.db.database import connected, sqlite_path, sqlite_url
from rapidflow_web.errors import DatabaseError
from rapidflow_web.logs import index
from rapidflow_web.logs.compressed import path_of
from rapidflow_web.logs.files import open_file
from rapidflow_web.logs.log import CHUNK, LogStore
from rapidflow_web.maintenance.backup_file import MANIFEST, BackupError, scratch
from rapidflow_web.maintenance.restore_staging import Staging
from rapidflow_web.maintenance.state_check import damage_of
from rapidflow_web.progress import ByteCount, Counted, Progress, untold
from rapidflow_web.settings import Settings

_END = "end"
"""The last file of a backup: one without it was cut off."""
_SNAPSHOT, _DUMP = "rapidflow.db", "postgres.dump"
_FORMAT = 1
_LOG = re.compile(r"logs/[0-9]{4,}/[0-9]+(\.services/[a-z0-9_-]+)?\.(log|index)(\.zst)?")
_KEPT = ("installation", "key")


async def back_up(settings: Settings, output: IO[bytes], progress: Progress = untold) -> tuple[int, int]:
    """Writes a backup to `output`; returns how many jobs and secrets are in it. `progress` is told.

    Raises `RapidFlowError`, `OSError`.
    """
    root = settings.data
    check_is_whole(root)
    if not (root / "key").exists():
        raise BackupError(f"there is nothing to back up in {root}; set RAPIDFLOW_DATA as for the server")
    folders = DataFolder(root)
    url = settings.database_url or sqlite_url(folders.database)
    with scratch(root) as folder:
        progress("copying the database")
        async with connected(url):
            # What had ended before the snapshot is sealed for good; all else is copied as far as it is.
            ended = set(await jobs.ids(ended=True))
            snapshot = await asyncio.to_thread(_snapshot, url, folder)
            every, secret_count = await jobs.ids(ended=False), await secrets.count()
        logs = LogStore(folders.logs)
        paths = await asyncio.to_thread(_paths, logs, every)
        total = await asyncio.to_thread(_size, snapshot, [path for _, path in paths])
        counted = Counted(output, ByteCount(progress, total))
        with tarfile.open(fileobj=counted, mode="w|") as tar:
            manifest = {
                "format": _FORMAT,
                "version": __version__,
                "created_at": int(time.time()),
                "secrets": secret_count,
            }
            _add(tar, MANIFEST, json.dumps(manifest).encode())
            tar.add(snapshot, snapshot.name)
            for name in _KEPT:
                if (root / name).exists():
                    _add(tar, name, (root / name).read_bytes())
            for job_id, path in paths:
                await asyncio.to_thread(_add_log, tar, root, path, job_id in ended)
            _add(tar, _END, b"")
    return len(every), secret_count


def _paths(logs: LogStore, job_ids: Sequence[int]) -> list[tuple[int, Path]]:
    """The log of each job and those of its services."""
    return [
        (job_id, logs.path(job_id, name)) for job_id in job_ids for name in (None, *logs.services(job_id))
    ]


def _size(snapshot: Path, logs: Sequence[Path]) -> int:
    """How many bytes the backup will have, about: builds go on, and logs are compressed meanwhile."""
    total = snapshot.stat().st_size
    for log in logs:
        for file in log, log.with_suffix(".index"):
            for form in file, path_of(file):
                with contextlib.suppress(FileNotFoundError):
                    total += form.stat().st_size + tarfile.BLOCKSIZE
                    break
    return total


def _snapshot(url: str, folder: Path) -> Path:
    path = sqlite_path(url)
    if path is None:
        target = folder / _DUMP
        postgres_programs.dump(url, target)
        return target
    target = folder / _SNAPSHOT
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        try:
            source.backup(copy)
            damage = damage_of(copy)
        except sqlite3.OperationalError:
            raise  # a full disk, or a lock
        except sqlite3.DatabaseError as error:
            damage = str(error)
    if damage is not None:
        # Otherwise a copy that can't be used would take the place of one that can.
        raise BackupError(
            f"the database is damaged ({damage}), so no backup is made; keep the last one, and see "
            "'rapidflow doctor'"
        )
    return target


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = _entry(name, len(data))
    tar.addfile(entry, io.BytesIO(data))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    return entry


def _add_log(tar: tarfile.TarFile, root: Path, log: Path, ended: bool) -> None:
    try:
        if ended:
            with _as_it_is(log.with_suffix(".index")) as index_file, _as_it_is(log) as log_file:
                for file in index_file, log_file:
                    entry = _entry(str(Path(file.name).relative_to(root)), os.fstat(file.fileno()).st_size)
                    tar.addfile(entry, file)
            return
        # The index first: what it accounts for is in the log that is copied afterwards.
        records = open_file(log.with_suffix(".index"))
        data = index.unsealed(records.read(0, records.size))
        file = open_file(log)
    except FileNotFoundError:
        return  # it has not begun, or was removed meanwhile
    _add(tar, str(log.with_suffix(".index").relative_to(root)), data)
    size = file.size
    chunks = (file.read(offset, min(CHUNK, size - offset)) for offset in range(0, size, CHUNK))
    tar.addfile(_entry(str(log.relative_to(root)), size), _Chunks(chunks))


def _as_it_is(path: Path) -> IO[bytes]:
    """A file of a log, compressed or not; the compressed form is there before the other goes."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        return path_of(path).open("rb")


class _Chunks(io.RawIOBase):
    """Gives chunks as a file, in the sizes that they have."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._left) < size and (chunk := next(self._chunks, b"")):
            self._left += chunk
        data, self._left = self._left[:size], self._left[size:]
        return data


# Restore


def restore(settings: Settings, source: IO[bytes], *, take_over: bool, progress: Progress = untold) -> int:
    """Makes the data folder of the settings, which must be missing or unused, from a backup.

    Returns the number of secrets in it, for which the key is to be put back. `progress` is told.

    With `take_over` the restored server is the one that was backed up, and takes its containers up: that one
    must not run any more. Without, it is a new one. Raises `RapidFlowError`, `OSError`, and changes nothing
    then. One that is killed can be run again; until then no server starts on the folder.
    """
    root = settings.data
    was_there = root.exists()
    make_folder(root)
    had_lock = (root / "lock").exists()
    with locked(root):
        try:
            staging = Staging(root)
            with staging.unpacking() as fresh:
                manifest = _unpack(Counted(source, ByteCount(progress, _length(source))), fresh)
                progress("restoring the database")
                if not take_over:
                    (fresh / "installation").unlink(missing_ok=True)
                elsewhere = _restore_database(settings, fresh)
                for path in elsewhere.values():
                    if not staging.may_put(path):
                        raise BackupError(f"the database {path} is there already; move it away first")
            staging.move(elsewhere)
        except BaseException:
            if not had_lock:
                (root / "lock").unlink(missing_ok=True)
            if not was_there:
                with contextlib.suppress(OSError):  # a server that was started meanwhile may be in it
                    root.rmdir()
            raise
    # Backups of older versions have none.
    return int(manifest.get("secrets", 0))


def _length(source: IO[bytes]) -> int | None:
    """The bytes of a file; None of a pipe."""
    try:
        found = os.fstat(source.fileno())
    except (OSError, AttributeError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _unpack(source: Counted, fresh: Path) -> dict[str, Any]:
    names: list[str] = []
    manifest: dict[str, Any] = {}
    try:
        with tarfile.open(fileobj=source, mode="r|*") as tar:
            for entry in tar:
                if not names:
                    manifest = _manifest(tar, entry)
                elif entry.name != _END:
                    _unpack_one(tar, entry, fresh)
                names.append(entry.name)
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"this is not a backup, or it is damaged: {error}") from error
    if _END not in names:
        raise BackupError("this backup is cut off; its end is missing")
    return manifest


def _manifest(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> dict[str, Any]:
    try:
        file = tar.extractfile(entry) if entry.name == MANIFEST else None
        manifest: dict[str, Any] = json.loads(file.read(10_000)) if file is not None else {}
    except ValueError:
        manifest = {}
    if "format" not in manifest:
        raise BackupError("this is not a backup of RapidFlow Web")
    if manifest["format"] != _FORMAT:
        raise BackupError(
            f"this backup was made by version {manifest.get('version')}, in a format that is not known here; "
            "restore it with that version"
        )
    return manifest


def _unpack_one(tar: tarfile.TarFile, entry: tarfile.TarInfo, fresh: Path) -> None:
    known = entry.name in (_SNAPSHOT, _DUMP, *_KEPT) or _LOG.fullmatch(entry.name)
    file = tar.extractfile(entry) if known and entry.isreg() else None
    if file is None:
        raise BackupError(f"this backup has a file that none has: {entry.name[:100]!r}")
    path = fresh / entry.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with private_files.no_room_named(path), path.open("wb") as target:
        shutil.copyfileobj(file, target, CHUNK)


def _restore_database(settings: Settings, fresh: Path) -> dict[str, Path]:
    """Restores a dump; returns where the file of a database belongs if that is not in the data folder."""
    url = settings.database_url
    snapshot, dump = fresh / _SNAPSHOT, fresh / _DUMP
    path = sqlite_path(url) if url else snapshot
    if dump.exists():
        if path is not None:
            raise BackupError(
                "this backup is of a PostgreSQL database; set RAPIDFLOW_DATABASE_URL to an empty one"
            )
        _restore_dump(dump, url)
        dump.unlink()
        return {}
    if path is None:
        raise BackupError("this backup is of an SQLite database; leave RAPIDFLOW_DATABASE_URL unset")
    if not snapshot.exists():
        raise BackupError("this backup has no database in it; take another one")
    if path == snapshot:
        return {}
    return {_SNAPSHOT: path.absolute()}


def _restore_dump(dump: Path, url: str) -> None:
    """Restores all of a dump, or nothing. Raises `RapidFlowError`."""
    try:
        postgres_programs.restore(dump, url)
    except DatabaseError as error:
        if "already exists" not in str(error):
            raise
        raise BackupError(
            "the PostgreSQL database has tables already, perhaps from a restore that was killed; "
            "set RAPIDFLOW_DATABASE_URL to an empty one, or empty this one (DROP SCHEMA public CASCADE; "
            "CREATE SCHEMA public), and restore again"
        ) from error
