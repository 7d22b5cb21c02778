"""What tests of mirrors and work trees share."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.source.mirrors import Mirrors
from tests.support.server import wait_for


def read(folder: Path, *arguments: str, text: bytes | None = None) -> str:
    """What git prints in a folder, given `text`."""
    done = subprocess.run(["git", *arguments], cwd=folder, input=text, capture_output=True, check=True)
    return done.stdout.decode().strip()


def raw(folder: Path, *arguments: str) -> bytes:
    """What git prints in a folder, every byte of it."""
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True).stdout


async def refusal(mirrors: Mirrors, url: str, **wanted: Any) -> str:
    """Why something can't be fetched, without what is said of all of it."""
    with pytest.raises(BuildError) as error:
        await mirrors.fetch(url, **wanted)
    begin, _, rest = str(error.value).partition("could not fetch the source: ")
    assert begin == "" and rest
    return rest


def working_in(folder: Path) -> list[str]:
    """The command lines of the processes that work below a folder."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        try:
            if not process.name.isdigit() or not (process / "cwd").readlink().is_relative_to(folder):
                continue
            # One that is just ending has none any more.
            if command := (process / "cmdline").read_bytes().decode("utf-8", "replace"):
                found.append(command)
        except OSError:
            continue  # it ended meanwhile
    return found


async def none_left(folder: Path) -> None:
    """The processes that worked below a folder are gone; a killed one takes a moment to be."""
    await asyncio.to_thread(wait_for, lambda: working_in(folder) == [], "its processes are gone")


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def assert_not_contacted(listener: socket.socket) -> None:
    """Nobody connected to it."""
    with pytest.raises(BlockingIOError):
        listener.accept()
