"""A job's log: how it is followed while it grows, and read at rest."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from rapidflow_web.logs import index, search, stream_text
from rapidflow_web.logs import line_map as log_map
from rapidflow_web.logs.index import Kind
from rapidflow_web.logs.log import LogStore
from tests.support.logs import everything, write


@pytest.fixture
def store(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs")


# Following.


async def test_followers_see_every_change_and_every_byte_once(store: LogStore):
    writer, log = store.writer(1), store.open(1)

    async def follow() -> bytes:
        data = b""
        while True:
            if chunk := await log.read(len(data), 7):
                data += chunk
            elif log.sealed:
                return data
            else:
                await log.changed()

    followers = [asyncio.create_task(follow()) for _ in range(20)]
    await asyncio.sleep(0)
    for number in range(1, 4):
        await writer.begin_step(10 + number, number, "bash", 0)
        for line in range(50):
            await writer.append(f"line {line}\n".encode(), 0)
            if line % 7 == 0:
                await asyncio.sleep(0)
        await writer.end_step(0, 0)
    await writer.seal(stream_text.final_lines("success", None))
    async with asyncio.timeout(20):
        received = await asyncio.gather(*followers)
    assert set(received) == {store.path(1).read_bytes()}


@pytest.mark.parametrize("event", ["step", "output", "end", "seal"])
async def test_a_follower_is_woken_by(store: LogStore, event: str):
    writer, log = store.writer(1), store.open(1)
    if event != "step":
        await writer.begin_step(11, 1, "bash", 0)
    follower = asyncio.create_task(log.changed())
    await asyncio.sleep(0)
    assert not follower.done()
    match event:
        case "step":
            await writer.begin_step(11, 1, "bash", 0)
        case "output":
            await writer.append(b"a\n", 2)
        case "end":
            await writer.end_step(0, 0)
        case _:
            await writer.seal(b"")
    async with asyncio.timeout(20):
        await follower


async def test_a_follower_that_goes_away_is_forgotten(store: LogStore):
    log = store.open(1)
    gone, stays = asyncio.create_task(log.changed()), asyncio.create_task(log.changed())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    log.wake()
    async with asyncio.timeout(20):
        await stays
    assert gone.cancelled()


# Live logs.


async def test_readers_and_the_writer_of_a_live_log_share_it(store: LogStore):
    log = store.open(1)
    writer = store.writer(1)
    assert writer.log is log and store.open(1) is log
    await write(writer, "one\n", seal=False)
    assert store.open(1) is log
    await writer.seal(stream_text.COMPLETED)
    assert log.sealed and store.open(1).sealed


async def test_a_live_log_that_nobody_holds_is_read_anew(store: LogStore):
    writer = store.writer(1)
    await write(writer, "one\n", seal=False)
    writer.close()
    del writer
    gc.collect()
    log = store.open(1)
    assert not log.sealed
    assert log.size == store.path(1).stat().st_size


async def test_sealed_logs_are_kept_open_and_no_more_than_some(store: LogStore):
    for job_id in range(1, 41):
        await write(store.writer(job_id), "one\n")
    gc.collect()
    assert store.open(1) is store.open(1)
    before = open_files()
    for job_id in range(1, 41):
        assert (await everything(store.open(job_id))).startswith("=== Step 1")
    gc.collect()
    assert open_files() - before <= 32


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# At rest.


def compressible(store: LogStore, job_id: int = 1) -> str:
    """A sealed log of a size that is worth compressing; returns what is in it."""
    text = "".join(f"line {number}\n" for number in range(100_000))
    path = store.path(job_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    checks = [
        index.Record(Kind.CHECK, 0, 1, at, at, at, text.count("\n", 0, at), at)
        for at in (text.rfind("\n", 0, size) + 1 for size in range(1000, len(text), 1000))
    ]
    sealed = index.Record(Kind.SEAL, 0, 1, len(text), len(text), len(text), 100_000, 0)
    start = index.Record(Kind.START, 0, 1, 0, 0, 0, 0, 0)
    path.with_suffix(".index").write_bytes(b"".join(record.pack() for record in (start, *checks, sealed)))
    return text


async def test_a_compressed_log_reads_as_before_and_takes_less(store: LogStore):
    text = compressible(store)
    path = store.path(1)
    before = store.open(1)
    assert await before.read(5, 100) == text[5:105].encode()
    points = log_map.points(path.with_suffix(".index"), len(text))
    times = log_map.times(path.with_suffix(".index"), len(text), 5_000, 300_000, 50)
    late = LogStore(store._folder).open(1)  # has not opened the file yet
    taken = store.compress(1)
    files = list(path.parent.iterdir())
    assert sorted(file.name for file in files) == ["1.index.zst", "1.log.zst"]
    assert taken == sum(file.stat().st_size for file in files) < len(text) / 4
    assert store.compress(1) == taken
    for log in (before, late, LogStore(store._folder).open(1)):
        assert (log.size, log.sealed, log.lines) == (len(text), True, 100_000)
        assert (await log.read(0, len(text))).decode() == text
        assert await log.read(500_001, 77) == text[500_001:500_078].encode()
        assert text[await log.tail(3, 0) :] == "line 99997\nline 99998\nline 99999\n"
    assert log_map.points(path.with_suffix(".index"), len(text)) == points
    assert log_map.times(path.with_suffix(".index"), len(text), 5_000, 300_000, 50) == times
    found = await search.search(late, "line 777", case=True, regex=False)
    assert found["count"] == 111
    assert (await search.outline(late, 1))["error"] == {"line": 99_999, "offset": len(text) - 11}


async def test_a_compression_that_was_cut_short_is_done_again(store: LogStore):
    text = compressible(store)
    path = store.path(1)
    plain = {file: file.read_bytes() for file in path.parent.iterdir()}
    taken = store.compress(1)
    # As it was between the new file and the removal of the old one.
    for file, data in plain.items():
        file.write_bytes(data)
    path.with_name("1.log.zst.new").write_bytes(b"half")
    assert (await LogStore(store._folder).open(1).read(0, len(text))).decode() == text
    assert store.compress(1) == taken
    assert sorted(file.name for file in path.parent.iterdir()) == ["1.index.zst", "1.log.zst"]


async def test_a_small_log_is_left_as_it_is(store: LogStore):
    await write(store.writer(1), "one\n")
    assert store.compress(1) == sum(file.stat().st_size for file in store.path(1).parent.iterdir())
    assert sorted(file.name for file in store.path(1).parent.iterdir()) == ["1.index", "1.log"]


async def test_a_compressed_log_can_be_deleted(store: LogStore):
    compressible(store)
    store.compress(1)
    store.delete(1)
    assert list(store.path(1).parent.iterdir()) == []
