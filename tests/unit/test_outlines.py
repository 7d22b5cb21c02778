"""Outlines are made once for all who look at a log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.errors import TooManyRequests
from rapidflow_web.logs import outlines, search
from rapidflow_web.logs.log import Log, LogStore
from rapidflow_web.logs.outlines import Outlines


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return printed(tmp_path, 1)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the logs that are scanned."""
    really, found = search.outline, list[int]()

    async def outline(log: Log, step: int | None, **options: Any) -> dict[str, Any]:
        found.append(log.size)
        return await really(log, step, **options)

    monkeypatch.setattr(search, "outline", outline)
    # Each test has an event loop of its own.
    monkeypatch.setattr(search, "outline_slots", search._Slots("outlines"))
    return found


def printed(folder: Path, job: int, text: bytes = b"=== Step 1\n::group::one\na\n::endgroup::\n") -> Log:
    log = LogStore(folder).open(job)
    log.path.parent.mkdir(parents=True, exist_ok=True)
    log.path.write_bytes(text)
    log.size = len(text)
    return log


def grow(log: Log) -> None:
    with log.path.open("ab") as file:
        log.size += file.write(b"more\n")


async def outline(made: Outlines, log: Log, who: str = "anna") -> dict[str, Any]:
    return await made.of(log, None, has_failed=False, who=who)


async def test_many_who_ask_share_outlines(log: Log, scans: list[int]):
    made = Outlines()
    answers = await asyncio.gather(*(outline(made, log, f"viewer {number % 3}") for number in range(30)))
    assert all(answer == answers[0] for answer in answers)
    assert len(scans) <= search._AT_ONCE


async def test_many_who_ask_share_what_can_not_be_outlined(
    log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scans: list[int]
):
    scan = tmp_path / "scan.py"
    scan.write_text("raise MemoryError")
    monkeypatch.setattr(search, "_SCAN", scan)
    made = Outlines()
    asked = (outline(made, log, f"viewer {number % 3}") for number in range(30))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {str(answer) for answer in answers} == {"outlining this log takes too much memory"}
    assert len(scans) <= search._AT_ONCE


async def test_a_scan_that_failed_is_tried_again(
    log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scans: list[int]
):
    scan = tmp_path / "scan.py"
    scan.write_text("raise OSError")
    made = Outlines()
    with monkeypatch.context() as patched:
        patched.setattr(search, "_SCAN", scan)
        with pytest.raises(search.SearchFailed):
            await outline(made, log)
    assert (await outline(made, log))["size"] == log.size
    assert len(scans) == 2


async def test_nobody_has_many_outlines_waiting(log: Log, scans: list[int]):
    made = Outlines()
    asked = (outline(made, log) for _ in range(search._MOST_WAITING + 1))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(answer, TooManyRequests) for answer in answers].count(True) == 1
    assert len(scans) == 1


async def test_a_log_that_grows_is_scanned_again_after_a_while(
    log: Log, scans: list[int], monkeypatch: pytest.MonkeyPatch
):
    made, size = Outlines(), log.size
    monkeypatch.setattr(outlines, "_FRESH", 1_000)
    assert (await outline(made, log))["size"] == size
    grow(log)
    assert (await outline(made, log))["size"] == size
    monkeypatch.setattr(outlines, "_FRESH", 0)
    assert (await outline(made, log))["size"] == log.size
    assert (await outline(made, log))["size"] == log.size
    assert scans == [size, log.size]


async def test_the_end_of_a_log_is_outlined_at_once(
    log: Log, scans: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outlines, "_FRESH", 1_000)
    made = Outlines()
    await outline(made, log)
    grow(log)
    log.layout.final = log.size - len(b"more\n")
    assert log.sealed
    assert (await outline(made, log))["size"] == log.size
    assert len(scans) == 2


async def test_who_gives_up_takes_no_outline_away(log: Log, scans: list[int]):
    made = Outlines()
    first, second = (asyncio.create_task(outline(made, log)) for _ in range(2))
    while not scans:  # noqa: ASYNC110
        await asyncio.sleep(0)
    first.cancel()
    assert (await second)["size"] == log.size
    assert len(scans) == 2


async def test_few_outlines_are_kept(tmp_path: Path, scans: list[int]):
    made, logs = Outlines(), [printed(tmp_path, number) for number in range(outlines._MOST + 1)]
    for log in logs:
        await outline(made, log)
    await outline(made, logs[-1])
    assert len(scans) == len(logs)
    await outline(made, logs[0])
    assert len(scans) == len(logs) + 1
