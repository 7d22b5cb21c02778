"""What tests do to the machine itself, which only root may."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can mount a disk, start an engine, or give the machine an address"
)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own of `size`, as `mount` takes it, on the new folder `folder`."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def undeletable(path: Path) -> Iterator[None]:
    """A new file `path` that not even root can delete meanwhile, and so no folder that it is in."""
    path.touch()
    subprocess.run(["chattr", "+i", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)
