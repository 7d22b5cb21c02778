"""Where a restore unpacks a backup, and how that gets into the data folder: wholly, or not at all.

All lies inside the data folder, because the folder above may be another user's, and this one a mount point
or a link. While the file `_STATE` is there, it names what is moved from the folder `_WHOLE` into the data
folder, which had none of it before. So what a killed restore has put there is known, and nothing else is
ever removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Generator
from pathlib import Path

from rapidflow_web import private_files
from rapidflow_web.data_folder import RESTORING, is_unused
from rapidflow_web.errors import RapidFlowError
from rapidflow_web.removal import contents, remove_surely

_MARK = "made-by-rapidflow-restore"
_STATE, _NEXT, _WHOLE = "moved-by-rapidflow-restore.json", "next", "whole"
_OURS = frozenset({_MARK, _STATE, f"{_STATE}.new", _NEXT, _WHOLE})


class NotUnused(RapidFlowError):
    """The data folder has something that no restore put there."""


class Staging:
    """The staging folder inside the data folder `root`, which is locked meanwhile."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / RESTORING
        self._moved = self._read()

    @contextlib.contextmanager
    def unpacking(self) -> Generator[Path]:
        """An empty folder to unpack a backup into. When that fails, all is as it was before.

        Raises `NotUnused` where the data folder is in use.
        """
        if not self._is_ours():
            raise NotUnused(f"{self._folder} is of no restore of this version; move it away first")
        if not is_unused(self._root, {*self._moved.values()}):
            raise NotUnused(
                f"the data folder {self._root} is in use; move it away first, "
                "or set RAPIDFLOW_DATA to another"
            )
        fresh = self._folder / _NEXT
        self._folder.mkdir(mode=0o700, exist_ok=True)
        try:
            (self._folder / _MARK).touch(mode=0o600)
            # What an earlier one only unpacked is of no use; what it moved stays until this one is whole.
            remove_surely(fresh)
            if not self._moved:
                remove_surely(self._folder / _WHOLE)
            fresh.mkdir(mode=0o700)
            yield fresh
            os.sync()
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            if not self._moved:
                self._remove()
            raise

    def may_put(self, path: Path) -> bool:
        """Whether nothing is at `path`, or what an earlier restore put there."""
        return not os.path.lexists(path) or str(path) in self._moved.values()

    def move(self, elsewhere: dict[str, Path]) -> None:
        """Moves what was unpacked into the data folder; `elsewhere` has files that belong to other places.

        What an earlier restore had moved is removed before. When it fails, the data folder is unused again.
        """
        self._take_back()
        whole = self._folder / _WHOLE
        (self._folder / _NEXT).rename(whole)
        self._moved = {name: str(elsewhere.get(name, name)) for name in _units(whole)}
        try:
            self._write()
            for name, target in self._moved.items():
                (self._root / target).parent.mkdir(mode=0o700, exist_ok=True)
                # The folder of the logs may be a link to another disk.
                shutil.move(whole / name, self._root / target)
            os.sync()
        except BaseException:
            self._take_back()
            self._remove()
            raise
        # From here on the data folder counts.
        self._remove()

    def _is_ours(self) -> bool:
        """Whether the folder is that of a restore, or empty, or not there."""
        if self._folder.is_symlink() or not self._folder.is_dir():
            return not os.path.lexists(self._folder)
        names = {path.name for path in self._folder.iterdir()}
        return not names or (names <= _OURS and not names.isdisjoint((_MARK, _STATE)))

    def _read(self) -> dict[str, str]:
        """What an earlier restore moved, or was about to: its name in the backup, and where it belongs."""
        try:
            return json.loads((self._folder / _STATE).read_bytes())
        except (OSError, ValueError):
            return {}

    def _write(self) -> None:
        private_files.write_atomically(self._folder / _STATE, json.dumps(self._moved).encode())

    def _take_back(self) -> None:
        """Removes what was moved: before that, nothing of it was there."""
        for target in self._moved.values():
            remove_surely(self._root / target)
        remove_surely(self._folder / _WHOLE)
        (self._folder / _STATE).unlink(missing_ok=True)
        self._moved = {}

    def _remove(self) -> None:
        """Removes the staging folder. The last file that goes tells whether the data folder is whole."""
        for name in (_NEXT, _WHOLE, f"{_STATE}.new", _MARK, _STATE):
            remove_surely(self._folder / name)
        self._folder.rmdir()


def _units(whole: Path) -> list[str]:
    """What is moved in one piece: files, and in folders what is in them, for these are there already."""
    return [
        str(inner.relative_to(whole))
        for path in contents(whole)
        for inner in (path.iterdir() if path.is_dir() else (path,))
    ]
