"""What must not be readable anywhere, looked for."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def holding(folder: Path, *texts: str) -> list[Path]:
    """The files below a folder that have one of the texts in them; a server may be removing some."""
    wanted, found = [text.encode() for text in texts], list[Path]()
    for path, _, names in os.walk(folder):
        for file in (Path(path) / name for name in names):
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and any(text in file.read_bytes() for text in wanted):
                    found.append(file)
    return found
