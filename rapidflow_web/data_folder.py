"""The one folder that holds all that the server keeps."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import re
import secrets
import time
import uuid
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from typing import IO

from rapidflow_web import private_files
from rapidflow_web.errors import SettingsError
from rapidflow_web.removal import contents

DATABASE = "rapidflow.db"
SECRETS_KEY = "secrets.key"
RESTORING = "restoring"
"""The folder in which a restore works; while something is in it, nothing else in the data folder counts."""
_FOLDERS = ("logs", "mirrors", "work", "uploads")
_KEY_BYTES = 32
_TRY_SECONDS = 0.02
_LEFT_BY_A_START = ("installation", "key", "lock")


class InUse(SettingsError):
    """Another process has the data folder for itself."""


def is_unused(root: Path, restored: Collection[str] = ()) -> bool:
    """Whether a folder has nothing that a server kept, at most what a start that failed has left.

    `restored` names what does not count, such as "logs/0000". Raises `SettingsError` for a link to nowhere.
    """
    for path in contents(root):
        _check_link(path)
        if path.name in _FOLDERS and path.is_dir():
            if any(f"{path.name}/{child.name}" not in restored for child in contents(path)):
                return False
        elif path.name not in (*_LEFT_BY_A_START, *restored, RESTORING):
            return False
    return True


def is_being_restored(root: Path) -> bool:
    """Whether a restore has begun in a folder and not ended."""
    folder = root / RESTORING
    return folder.is_dir() and any(folder.iterdir())


def check_is_whole(root: Path) -> None:
    """Raises `SettingsError` where a restore to the folder has not ended."""
    if is_being_restored(root):
        raise SettingsError(
            f"a restore to the data folder {root} was cut short; run 'rapidflow restore' again"
        )


def check_user(root: Path, command: str) -> None:
    """Raises `SettingsError` for another user than the server's, who could not read what `command` writes."""
    for path in root / "key", root:
        try:
            owner = path.stat().st_uid
            break
        except FileNotFoundError:
            continue
    else:
        return
    if owner != os.geteuid():
        raise SettingsError(
            f"the data folder {root} belongs to {user_name(owner)}, and you are {user_name(os.geteuid())}: "
            f"run '{command}' as the user of the server"
        )


def user_name(number: int) -> str:
    """What the system calls a user."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def make_folder(folder: Path) -> None:
    """Makes a folder for the server's user alone, if it is not there. Raises `SettingsError`, `OSError`."""
    _check_link(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _check_access(folder: Path) -> None:
    """Raises `PermissionError` for a folder that this user may not use; no disk that is read-only."""
    needed = os.R_OK | os.X_OK
    if not os.statvfs(folder).f_flag & os.ST_RDONLY:
        needed |= os.W_OK
    if not os.access(folder, needed):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _check_link(folder: Path) -> None:
    if folder.is_symlink() and not folder.exists():
        # Made, it could be on another disk than on the one that is not mounted.
        raise SettingsError(
            f"{folder} is a link to {folder.readlink()}, which is not there; "
            "mount its disk, or make that folder"
        )


@contextlib.contextmanager
def locked(root: Path, patience: float = 0) -> Generator[None]:
    """Keeps every other process that asks for it away from a data folder. Raises `InUse`, `OSError`.

    Waits `patience` seconds for one that has it.
    """
    path = root / "lock"
    with open(path, "w", opener=private_files.opener) as lock:
        try:
            _lock(lock, patience)
            # One that gave up has removed it together with the folder that it made.
            mine = os.path.samestat(os.fstat(lock.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            if is_being_restored(root):
                raise InUse(f"a restore to the data folder {root} runs; wait until it has ended")
            raise InUse(f"another server uses the data folder {root}; stop it, or set RAPIDFLOW_DATA.")
        yield


def _lock(file: IO[str], patience: float) -> None:
    """Raises `BlockingIOError` where others have locked it for all of the `patience`."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_TRY_SECONDS)


class DataFolder:
    """What lies where below the data folder, which is made if it is not there. Raises `SettingsError`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.database = root / DATABASE
        self.logs, self.mirrors, self.work, self.uploads = (root / name for name in _FOLDERS)
        with self._usable():
            # Variables of builds and URLs with passwords in them are nobody else's business.
            for folder in (root, *(root / name for name in _FOLDERS)):
                make_folder(folder)
                _check_access(folder)

    def installation(self) -> str:
        """Tells what belongs to this installation from what belongs to others."""
        found = self._stored("installation", lambda: uuid.uuid4().hex.encode())
        # An empty one would be that of every container.
        if not re.fullmatch(rb"[0-9a-zA-Z_.-]+", found):
            raise self._damaged("installation")
        return found.decode()

    def key(self) -> bytes:
        """A secret of this installation."""
        found = self._stored("key", lambda: secrets.token_bytes(_KEY_BYTES))
        # With a short one, builds could sign what only their agent may.
        if len(found) != _KEY_BYTES:
            raise self._damaged("key")
        return found

    def _damaged(self, name: str) -> SettingsError:
        return SettingsError(
            f"the file {self._root / name} is damaged; take it from a backup, or remove it: "
            "then a new one is made, and builds that run are lost"
        )

    def _stored(self, name: str, make: Callable[[], bytes]) -> bytes:
        path = self._root / name
        with self._usable():
            if not path.exists():
                private_files.write_atomically(path, make())
            return path.read_bytes()

    @contextlib.contextmanager
    def _usable(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            where = "" if error.filename in (None, str(self._root)) else f"{error.filename}: "
            why = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
            raise SettingsError(
                f"RAPIDFLOW_DATA is {str(self._root)!r}, which can't be used: {where}{why}."
            ) from error

    @contextlib.contextmanager
    def owned(self, patience: float = 0) -> Generator[None]:
        """Keeps a second server away from the data folder. Raises `InUse`, `SettingsError`.

        Waits `patience` seconds for one that has it.
        """
        with contextlib.ExitStack() as stack:
            with self._usable():
                stack.enter_context(locked(self._root, patience))
                check_is_whole(self._root)
                self._close_to_others()
            yield

    def _close_to_others(self) -> None:
        # Older versions made some of it as the umask had it.
        for path in (self._root, *self._root.iterdir()):
            if not path.is_symlink() or path == self._root:
                private_files.close(path)
