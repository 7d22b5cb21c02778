"""Whether there is room for what builds print."""

from __future__ import annotations

import os
from pathlib import Path

_LEAST_FREE = 64 * 1024 * 1024
_LEAST_SHARE = 0.02
"""Of a disk that is so small that `_LEAST_FREE` would be much of it."""


def problem(folder: Path) -> str | None:
    """Why the disk with `folder` can't be written, in a sentence; None while all is well."""
    try:
        state = os.statvfs(folder)
    except OSError as error:
        return f"the data folder {folder} can't be read: {error.strerror}"
    if state.f_flag & os.ST_RDONLY:
        return f"the data folder {folder} is on a disk that can't be written"
    free, size = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
    if free < min(_LEAST_FREE, size * _LEAST_SHARE):
        return f"the disk with the data folder {folder} is full: {free // 1024**2} MiB are free"
    return None
