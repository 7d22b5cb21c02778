"""The one folder that holds all that the server keeps."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

from rapidflow_web import private
from rapidflow_web.errors import SettingsError

DATABASE = "rapidflow.db"
SECRETS_KEY = "secrets.key"
RESTORING = "restoring"
"""The folder in which a restore works; while it is there, nothing else in the data folder counts."""
_FOLDERS = ("logs", "mirrors", "work")
_LEFT_BY_A_START = ("installation", "key", "lock")
_OF_THE_DISK = ("lost+found",)


def is_unused(root: Path) -> bool:
    """Whether a folder has nothing that a server kept, at most what a start that failed has left."""
    for path in root.iterdir():
        if path.name in _FOLDERS and path.is_dir():
            if any(path.iterdir()):
                return False
        elif path.name not in (*_LEFT_BY_A_START, *_OF_THE_DISK):
            return False
    return True


class DataFolder:
    """What lies where below the data folder, which is made if it is not there. Raises `SettingsError`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.database = root / DATABASE
        self.logs, self.mirrors, self.work = (root / name for name in _FOLDERS)
        with self._usable():
            # Variables of builds and URLs with passwords in them are nobody else's business.
            for folder in (root, self.logs, self.mirrors, self.work):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def installation(self) -> str:
        """Tells what belongs to this installation from what belongs to others."""
        return self._kept("installation", lambda: uuid.uuid4().hex.encode()).decode()

    def key(self) -> bytes:
        """A secret of this installation."""
        return self._kept("key", lambda: secrets.token_bytes(32))

    def _kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        path = self._root / name
        with self._usable():
            if not path.exists():
                # Made beside and moved, so that it is never there in part.
                fresh = path.with_suffix(".new")
                fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(make())
                    file.flush()
                    os.fsync(fd)
                fresh.rename(path)
            return path.read_bytes()

    @contextlib.contextmanager
    def _usable(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise SettingsError(
                f"RAPIDFLOW_DATA is {str(self._root)!r}, which can't be used: {error.strerror}."
            ) from error

    @contextlib.contextmanager
    def owned(self) -> Generator[None]:
        """Keeps a second server away from the data folder."""
        with self._usable():
            if (self._root / RESTORING).exists():
                raise SettingsError(
                    f"a restore to the data folder {self._root} was cut short; run 'rapidflow restore' again"
                )
            opened = open(self._root / "lock", "w", opener=private.opener)  # noqa: SIM115
        with opened as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SettingsError(
                    f"another server uses the data folder {self._root}; stop it, or set RAPIDFLOW_DATA."
                ) from None
            self._close_to_others()
            yield

    def _close_to_others(self) -> None:
        # Older versions made some of it as the umask had it.
        for path in (self._root, *self._root.iterdir()):
            if not path.is_symlink() or path == self._root:
                private.close(path)
