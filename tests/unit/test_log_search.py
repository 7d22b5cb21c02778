"""Why a log can't be searched is told truly."""

from __future__ import annotations

import os
import random
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.logs import search
from rapidflow_web.logs.compressed import compress, path_of
from rapidflow_web.logs.log import Log, LogStore
from tests.support.machine import only_root, small_disk

HARD = "a[ab]{900}c"


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """The log of a build that printed what is hard to search."""
    return _log(tmp_path, bytes(random.Random(1).choices(b"ab", k=4_000_000)))


def _log(folder: Path, output: bytes) -> Log:
    log = LogStore(folder).open(1)
    log.path.parent.mkdir(parents=True, exist_ok=True)
    log.path.write_bytes(output)
    log.size = len(output)
    return log


async def _refusal(log: Log, text: str = "needle") -> tuple[type[Exception], str]:
    with pytest.raises(search.CannotSearch) as error:
        await search.search(log, text, case=True, regex=True)
    return error.type, str(error.value)


async def test_too_little_time_is_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "searching this log takes too long; make the expression simpler"
    monkeypatch.setattr(search, "_SECONDS", 2)
    assert await _refusal(log, HARD) == (search.CannotSearch, sentence)
    for code in (-14, -24):
        assert str(search._told(search._SEARCHING, code, b"")) == sentence


async def test_too_little_memory_is_told(log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scan = tmp_path / "scan.py"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28,) * 2)"
    scan.write_text(f"{limit}; bytearray(1 << 30)")
    monkeypatch.setattr(search, "_SCAN", scan)
    sentence = "searching this log takes too much memory; make the expression simpler"
    assert await _refusal(log) == (search.CannotSearch, sentence)


async def test_another_failure_is_told_as_such(
    log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(search, "_PACKAGES", str(tmp_path / "nowhere"))
    failed = (search.SearchFailed, "searching this log failed: the server's log says why")
    assert await _refusal(log) == failed
    assert caplog.messages == [
        "searching this log ended with code 1: ModuleNotFoundError: No module named 're2'"
    ]
    scan = tmp_path / "scan.py"
    scan.write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(search, "_SCAN", scan)
    killed = (search.SearchFailed, "searching this log failed: ended by signal 9; try again")
    assert await _refusal(log) == killed
    shutil.rmtree(log.path.parent)
    log.path.parent.write_bytes(b"no folder")
    assert (await _refusal(log))[1] == "searching this log failed: Not a directory"


async def test_a_process_that_can_not_be_started_is_told(log: Log) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    held = list[int]()
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        os.close(held.pop())  # for the log itself
        refused = await _refusal(log)
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refused == (search.SearchFailed, "searching this log failed: Too many open files")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "8m"):
        yield tmp_path / "disk"


@only_root
@pytest.mark.parametrize("room", [0, 40_000])
async def test_a_compressed_log_on_a_full_disk_is_told(disk: Path, room: int) -> None:
    log = _log(disk, b"needle in a line\n" * 20_000)
    compress(log.path, path_of(log.path))
    log.path.unlink()
    found = await search.search(log, "needle", case=True, regex=False)
    assert found["count"] == 20_000
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        with pytest.raises(OSError, match="No space left"):
            while True:
                ballast.write(b"\0" * 4096)
        ballast.truncate(ballast.tell() - room)
    full = (search.SearchFailed, "searching this log failed: No space left on device")
    assert await _refusal(log) == full
