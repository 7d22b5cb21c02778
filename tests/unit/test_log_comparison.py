"""Logs are compared in a process of its own, which is bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.builds.comparing import Comparing
from rapidflow_web.db.models import Job
from rapidflow_web.logs import difference, search
from rapidflow_web.logs.index import Span
from rapidflow_web.logs.log import Log, LogStore
from tests.support.builds import processes_of


def log_of(folder: Path, job_id: int, output: bytes, monkeypatch: pytest.MonkeyPatch) -> Log:
    """The log of a build that has ended."""
    log = LogStore(folder).open(job_id)
    log.path.parent.mkdir(parents=True, exist_ok=True)
    log.path.write_bytes(output)
    log.size = len(output)
    monkeypatch.setattr(Log, "sealed", True)
    return log


async def test_long_logs_that_say_the_same_do_as_far_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Numbers of other lengths: after so many bytes they are at other lines.
    one, other = (b"".join(b"line took %d ms\n" % (i * by) for i in range(250_000)) for by in (1, 1000))
    assert min(len(one), len(other)) > difference.MOST
    monkeypatch.setattr("rapidflow_web.logs.search._SECONDS", 60)  # on a machine that has much to do
    logs = [log_of(tmp_path, number, said, monkeypatch) for number, said in enumerate((one, other), 1)]
    assert await search.first_difference(*logs) is None
    short = log_of(tmp_path, 3, one[:1_000_000] + b"FATAL\n", monkeypatch)
    found = await search.first_difference(logs[0], short)
    assert found is not None
    assert found.other is not None and found.other.endswith("FATAL")


async def test_a_comparison_that_takes_long_is_ended_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    logs = [log_of(tmp_path, number, b"a%d\n" % number * 1_000_000, monkeypatch) for number in (1, 2)]
    monkeypatch.setattr(search, "_SECONDS", 0.01)
    with pytest.raises(search.CannotSearch, match=r"^comparing these logs takes too long$"):
        await search.first_difference(*logs)
    assert processes_of(tmp_path, [str(logs[0].path)]) == []


async def test_a_comparison_that_takes_too_much_memory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    logs = [log_of(tmp_path, number, b"a\n", monkeypatch) for number in (1, 2)]
    scan = tmp_path / "scan.py"
    scan.write_text("raise MemoryError")
    monkeypatch.setattr(search, "_SCAN", scan)
    with pytest.raises(search.CannotSearch, match=r"^comparing these logs takes too much memory$"):
        await search.first_difference(*logs)
    layout = logs[0].layout
    layout.spans.append(Span(1, 0, 0, 0, 2, 0))
    with pytest.raises(
        search.CannotSearch, match=r"^looking for an error in this log takes too much memory$"
    ):
        await search.telling_line(logs[0], 1)
    with pytest.raises(search.CannotSearch, match=r"^outlining this log takes too much memory$"):
        await search.outline(logs[0], None)


async def test_a_log_that_ends_before_its_size_can_not_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    logs = [log_of(tmp_path, number, b"a\n", monkeypatch) for number in (1, 2)]
    logs[0].size = 10_000_000
    with pytest.raises(
        search.SearchFailed, match=r"^comparing these logs failed: the server's log says why$"
    ):
        await search.first_difference(*logs)


async def test_comparing_takes_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def wait(one: Log, other: Log) -> None:
        began.append(one.path.name)
        await gate.wait()

    began: list[str] = []
    gate = asyncio.Event()
    monkeypatch.setattr(search, "first_difference", wait)
    # Of builds without commits, only the logs are compared.
    nothing: Any = None
    comparing = Comparing(nothing, nothing, LogStore(tmp_path))
    jobs = [(Job(id=number, log_size=0), who) for number, who in enumerate(("eve", "eve", "eve", "ada"), 1)]
    tasks = [asyncio.create_task(comparing.compare(job, job, who)) for job, who in jobs]
    for _ in range(100):
        await asyncio.sleep(0)
    assert began == ["1.log", "4.log"]
    gate.set()
    assert [found.places for found in await asyncio.gather(*tasks)] == [None] * 4
    assert sorted(began) == ["1.log", "2.log", "3.log", "4.log"]
