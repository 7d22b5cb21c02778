"""A job's log after a crash, after a loss of power, and on a full disk."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rapidflow_web.logs import index, stream_text
from rapidflow_web.logs import writer as log_writer
from rapidflow_web.logs.index import RECORD_SIZE, Kind, Record
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.writer import LogWriter
from tests.support.machine import only_root, small_disk
from tests.support.server import wait_for


@pytest.fixture
def store(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs")


@dataclass(frozen=True)
class Event:
    """Something that the agent's output says, which ends at the offset `source` in it."""

    kind: str
    source: int
    number: int = 0
    data: bytes = b""


BUILD = (
    Event("start", 40, number=1),
    Event("output", 44, data=b"one\n"),
    Event("output", 47, data=b"two"),
    Event("output", 50, data=b"\n\xff\n"),
    Event("exit", 90, number=1),
    Event("start", 90, number=2),
    Event("exit", 130, number=2),
    Event("start", 130, number=3),
    Event("output", 140, data=b"no newline"),
    Event("exit", 180, number=3),
    Event("seal", 180),
)


async def tell(writer: LogWriter, events: tuple[Event, ...]) -> None:
    """Writes what the events say."""
    for event in events:
        match event.kind:
            case "start":
                await writer.begin_step(event.number, event.number, "bash", event.source)
            case "output":
                await writer.append(event.data, event.source)
            case "exit":
                await writer.end_step(0, event.source)
            case _:
                await writer.seal(stream_text.final_lines("success", None))


def still_to_tell(writer: LogWriter) -> tuple[Event, ...]:
    """The events that a server which goes on with the build hears or thinks of again."""
    layout = writer.log.layout
    begun, running = len(layout.spans), layout.running is not None

    def is_known(event: Event) -> bool:
        match event.kind:
            case "start":
                return event.number <= begun
            case "exit":
                return event.number < begun or (event.number == begun and not running)
            case "output":
                return event.source <= writer.source
            case _:
                return False

    return tuple(event for event in BUILD if not is_known(event))


def records(store: LogStore) -> list[Record]:
    """The records of job 1, without their times."""
    data = store.path(1).with_suffix(".index").read_bytes()
    return [replace(record, time=0) for record in index.unpack(data)]


async def written(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """The bytes of a whole build's log and index, with a record for every piece of output."""
    monkeypatch.setattr(log_writer, "_CHECK_BYTES", 1)
    await tell(store.writer(1), BUILD)
    return store.path(1).read_bytes(), store.path(1).with_suffix(".index").read_bytes()


async def check_recovery(store: LogStore, whole: bytes, all_records: list[Record], torn: str) -> None:
    """Takes up what is on the disk, and goes on to the end of the build."""
    opened = store.open(1)
    if opened.sealed:
        assert store.path(1).read_bytes()[: opened.size] == whole
        return
    writer = store.writer(1)
    data, left = store.path(1).read_bytes(), records(store)
    assert left == all_records[: len(left)], torn
    assert store.path(1).with_suffix(".index").stat().st_size == len(left) * RECORD_SIZE, torn
    assert data == whole[: left[-1].size if left else 0], torn
    assert opened.size == len(data), torn
    assert opened.lines == data.count(b"\n"), torn
    assert writer.source == (left[-1].source if left else 0), torn
    await tell(writer, still_to_tell(writer))
    assert store.path(1).read_bytes() == whole, torn
    again = LogStore(store.path(1).parents[1]).open(1)
    assert again.sealed and again.size == len(whole), torn
    assert again.layout.spans == opened.layout.spans and again.layout.final == opened.layout.final, torn
    steps = [record for record in records(store) if record.kind is not Kind.CHECK]
    assert steps == [record for record in all_records if record.kind is not Kind.CHECK], torn


async def test_a_build_goes_on_after_a_crash_at_any_byte(
    store: LogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, _ = await written(store, monkeypatch)
    all_records = records(store)
    # The order in which bytes get to the disk: those that a record is about, then the record.
    moments: list[tuple[int, int]] = []
    size = 0
    for number, record in enumerate(all_records):
        moments += [(done, number * RECORD_SIZE) for done in range(size, record.size + 1)]
        moments += [(record.size, number * RECORD_SIZE + done) for done in range(1, RECORD_SIZE)]
        size = record.size
    assert size == len(whole)
    complete = store.path(1).with_suffix(".index").read_bytes()
    for log_size, index_size in moments:
        crashed = LogStore(tmp_path / "crashed")
        put(crashed, whole[:log_size], complete[:index_size])
        await check_recovery(crashed, whole, all_records, f"crash at {log_size}, {index_size}")


def put(store: LogStore, data: bytes, records: bytes) -> None:
    """Makes these the files of job 1."""
    path = store.path(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_suffix(".index").write_bytes(records)


async def test_a_build_goes_on_after_a_loss_of_power_whatever_got_to_the_disk(
    store: LogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, complete = await written(store, monkeypatch)
    all_records = records(store)
    for log_size in range(0, len(whole) + 1, 7):
        for index_size in range(0, len(complete) + 1, 29):
            for padding in (b"", bytes(100)):
                lost = LogStore(tmp_path / "lost")
                put(lost, whole[:log_size], complete[:index_size] + padding)
                await check_recovery(lost, whole, all_records, f"loss at {log_size}, {index_size}")


async def test_a_log_without_an_index_begins_anew(store: LogStore):
    put(store, b"of nobody knows what", b"")
    store.path(1).with_suffix(".index").unlink()
    await tell(store.writer(1), BUILD[:2])
    assert store.path(1).read_bytes() == b"=== Step 1 (bash) ===\none\n"


async def test_an_index_without_a_log_begins_anew(store: LogStore, monkeypatch: pytest.MonkeyPatch):
    whole, _ = await written(store, monkeypatch)
    store.path(1).unlink()
    assert store.open(1).size == 0
    writer = store.writer(1)
    assert (writer.records, writer.source) == ([], 0)
    await tell(writer, BUILD)
    assert store.path(1).read_bytes() == whole


async def test_a_log_is_sealed_by_another_writer_where_the_first_one_failed(store: LogStore):
    first = store.writer(1)
    await tell(first, BUILD[:3])
    await store.writer(1).seal(stream_text.final_lines("failed", "no"))
    assert store.path(1).read_bytes() == (
        b"=== Step 1 (bash) ===\none\ntwo\n\n=== Build failed: no ===\n=== Build completed ===\n"
    )
    assert records(store)[-1].lines == 6
    first.close()


async def test_what_an_earlier_writer_left_is_known_to_the_next(store: LogStore):
    writer = store.writer(1)
    await tell(writer, BUILD[:8])
    writer.close()
    left = LogStore(store.path(1).parents[1]).writer(1).records
    assert [(record.kind, record.step_id) for record in left] == [
        (Kind.START, 1), (Kind.END, 1), (Kind.START, 2), (Kind.END, 2), (Kind.START, 3),
    ]  # fmt: skip


async def test_what_was_written_inside_a_step_is_told_by_one_record(store: LogStore):
    writer = store.writer(1)
    await tell(writer, BUILD[:1])
    for number in range(1, 20_001):
        await writer.append(b"x\n", 40 + number * 2)
        if number % 1000 == 0:
            await asyncio.sleep(0)
    await writer.append(b"y" * 65_536, 200_000)
    writer.close()
    left, size = index.load(store.path(1).with_suffix(".index"), 10**9)
    assert [record.kind for record in left] == [Kind.START, Kind.CHECK]
    assert left[-1].source == 200_000
    assert size == store.path(1).with_suffix(".index").stat().st_size


# A full disk.


async def test_a_write_waits_for_room_and_goes_on_where_it_stopped(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_writer, "_RETRY_SECONDS", 0.001)
    really_write, room = os.write, 30

    def write(fd: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = really_write(fd, bytes(data[:room]))
        room -= done
        return done

    writer = store.writer(1)
    monkeypatch.setattr(os, "write", write)
    build = asyncio.create_task(tell(writer, BUILD))
    while not build.done():
        await asyncio.to_thread(wait_for, lambda: writer.stuck or build.done(), "the disk is full")
        assert build.done() or writer.stuck == "the log can't be written: No space left on device"
        # Nothing is promised to readers that is not there.
        assert writer.log.size <= store.path(1).stat().st_size
        room = 13
        await asyncio.sleep(0.003)
    await build
    monkeypatch.undo()
    assert writer.stuck is None
    fine = LogStore(store.path(1).parents[1] / "fine")
    await tell(fine.writer(1), BUILD)
    assert store.path(1).read_bytes() == fine.path(1).read_bytes()


async def test_other_errors_are_not_waited_for(store: LogStore, monkeypatch: pytest.MonkeyPatch):
    writer = store.writer(1)
    await tell(writer, BUILD[:1])
    writer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await tell(writer, BUILD[1:2])


async def test_a_log_is_sealed_also_when_the_disk_will_not_say_that_it_is_safe(
    store: LogStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    await tell(store.writer(1), BUILD)
    assert store.open(1).sealed
    assert "may not be safe on the disk: Input/output error" in caplog.text


def enlarge(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


@only_root
async def test_a_build_goes_on_when_a_full_disk_gets_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_writer, "_RETRY_SECONDS", 0.01)
    lines = b"x" * 99_999 + b"\n"
    with small_disk(tmp_path / "disk", "256k"):
        store = LogStore(tmp_path / "disk" / "logs")
        writer = store.writer(1)

        async def build() -> None:
            await tell(writer, BUILD[:1])
            for number in range(1, 11):
                await writer.append(lines, 40 + number * len(lines))
            await writer.seal(stream_text.final_lines("success", None))

        task = asyncio.create_task(build())
        await asyncio.to_thread(wait_for, lambda: writer.stuck, "the disk is full")
        assert writer.stuck == "the log can't be written: No space left on device"
        # What is there can be read meanwhile.
        assert (await store.open(1).read(0)).startswith(b"=== Step 1 (bash) ===\nxxx")
        await asyncio.to_thread(enlarge, tmp_path / "disk", "4m")
        async with asyncio.timeout(20):
            await task
        header = b"=== Step 1 (bash) ===\n"
        assert store.path(1).read_bytes() == header + lines * 10 + b"\n=== Build completed ===\n"
        assert writer.stuck is None
