"""The one folder that holds all that the server keeps."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

from rapidflow_web.errors import SettingsError


class DataFolder:
    """What lies where below the data folder, which is made if it is not there. Raises `SettingsError`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.database = root / "rapidflow.db"
        self.logs = root / "logs"
        self.mirrors = root / "mirrors"
        self.work = root / "work"
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

    def is_unused(self) -> bool:
        """Whether it has nothing that a server kept, at most what a start that failed has left."""
        made = {path.name for path in (self.logs, self.mirrors, self.work)}
        for path in self._root.iterdir():
            if path.name not in (*made, "installation", "key", "lock") or (
                path.name in made and any(path.iterdir())
            ):
                return False
        return True

    @contextlib.contextmanager
    def owned(self) -> Generator[None]:
        """Keeps a second server away from the data folder."""
        with (self._root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SettingsError(
                    f"another server uses the data folder {self._root}; stop it, or set RAPIDFLOW_DATA."
                ) from None
            yield
