"""Uploads on the disk, without a server."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rapidflow_web.source import uploads
from rapidflow_web.source.mirrors import NOBODY
from rapidflow_web.source.uploads import UploadedTrees


async def test_cancelled_upload_keeps_its_file_open_until_the_thread_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go = threading.Event(), threading.Event()
    write = uploads._write

    def slow(descriptor: int, data: bytes) -> None:
        begun.set()
        may_go.wait(60)
        write(descriptor, data)

    async def parts() -> AsyncIterator[bytes]:
        yield b"all of it"

    monkeypatch.setattr(uploads, "_write", slow)
    task = asyncio.create_task(UploadedTrees(tmp_path, 1000, 60).receive(1, parts()))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    other = os.open(os.devnull, os.O_WRONLY)  # would get the number of a file that is closed
    was_done = task.done()
    may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    os.close(other)
    assert not was_done
    assert (tmp_path / "1.new" / "received").read_bytes() == b"all of it"


def test_what_uploads_fetch_with_a_password_is_shared_with_nobody(tmp_path: Path) -> None:
    trees, commit = UploadedTrees(tmp_path, 1000, 60), "1" * 40
    for number in (1, 2):
        (tmp_path / f"{number}.git").mkdir()
        (tmp_path / f"{number}.git" / "HEAD").touch()
    one, other = (trees.source(number, "https://example.com/a", commit).account for number in (1, 2))
    assert len({one.scope, other.scope, NOBODY.scope}) == 3
    assert isinstance(one.scope, str)  # those of pipelines and repositories are numbers
