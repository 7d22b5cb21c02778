"""A job's log: how it is rendered and read."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from pathlib import Path

import pytest

from rapidflow_web.api.output import Output
from rapidflow_web.errors import LogUnreadable
from rapidflow_web.logs import index, stream_text
from rapidflow_web.logs.index import Kind
from rapidflow_web.logs.log import CHUNK, LogStore
from tests.support.logs import everything, write

FINISHED = """\
=== Step 1 (bash) ===
go: downloading github.com/gofiber/fiber/v2 v2.50.0
go: downloading github.com/jmoiron/sqlx v1.3.5

=== Step 2 (bash) ===
Build completed successfully

=== Build completed ===
"""


@pytest.fixture
def store(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs")


def on_disk(store: LogStore, job_id: int = 1) -> list[index.Record]:
    """All records of a job's log."""
    return list(index.unpack(store.path(job_id).with_suffix(".index").read_bytes()))


# Rendering.


async def test_a_finished_build_is_rendered_as_documented(store: LogStore):
    packages = ["github.com/gofiber/fiber/v2 v2.50.0", "github.com/jmoiron/sqlx v1.3.5"]
    downloads = "".join(f"go: downloading {package}\n" for package in packages)
    await write(store.writer(1), downloads, "Build completed successfully\n")
    assert await everything(store.open(1)) == FINISHED
    assert store.path(1).read_text() == FINISHED


@pytest.mark.parametrize(
    ("output", "rendered"),
    [
        ("", "=== Step 1 (bash) ===\n\n"),
        ("a\n", "=== Step 1 (bash) ===\na\n\n"),
        ("a", "=== Step 1 (bash) ===\na\n\n"),
        ("\n", "=== Step 1 (bash) ===\n\n\n"),
        ("a\n\n", "=== Step 1 (bash) ===\na\n\n\n"),
        ("a\r", "=== Step 1 (bash) ===\na\r\n\n"),
    ],
)
async def test_one_empty_line_comes_after_a_step(store: LogStore, output: str, rendered: str):
    await write(store.writer(1), output)
    assert await everything(store.open(1)) == rendered + "=== Build completed ===\n"


async def test_the_header_is_there_as_soon_as_a_step_begins(store: LogStore):
    writer = store.writer(1)
    await writer.begin_step(11, 1, "sh", 5)
    assert await everything(store.open(1)) == "=== Step 1 (sh) ===\n"
    writer.close()


@pytest.mark.parametrize(
    ("status", "error", "lines"),
    [
        ("success", None, ""),
        ("cancelled", None, "=== Build cancelled ===\n"),
        ("failed", "step 2 (bash) exited with 1", "=== Build failed: step 2 (bash) exited with 1 ===\n"),
        ("failed", "two\nlines\r\nof  it\n", "=== Build failed: two lines of  it ===\n"),
        ("failed", "half a character \udcff", "=== Build failed: half a character ? ===\n"),
        ("failed", None, "=== Build failed: no reason is known ===\n"),
    ],
)
def test_the_last_lines_say_how_a_build_ended(status: str, error: str | None, lines: str):
    assert stream_text.final_lines(status, error).decode() == lines + "=== Build completed ===\n"


async def test_a_build_that_never_began_has_only_its_last_lines(store: LogStore):
    await store.writer(1).seal(stream_text.final_lines("failed", "no such image"))
    assert await everything(store.open(1)) == "=== Build failed: no such image ===\n=== Build completed ===\n"


async def test_sealing_ends_the_step_that_runs(store: LogStore):
    writer = store.writer(1)
    await writer.begin_step(11, 1, "bash", 0)
    await writer.append(b"no newline", 10)
    await writer.seal(stream_text.final_lines("cancelled", None))
    assert await everything(store.open(1)) == (
        "=== Step 1 (bash) ===\nno newline\n\n=== Build cancelled ===\n=== Build completed ===\n"
    )
    assert [(record.kind, record.value) for record in on_disk(store)][-2:] == [(Kind.END, -1), (Kind.SEAL, 0)]


async def test_a_sealed_log_holds_nothing_of_what_was_appended(store: LogStore):
    log = store.open(1)
    await write(store.writer(1), "a" * 10_000)
    assert store.open(1) is log
    assert log.latest == (0, b"")


async def test_bytes_stay_as_they_are(store: LogStore):
    writer = store.writer(1)
    await writer.begin_step(11, 1, "bash", 0)
    await writer.append(b"\xff\x00\x1b[0m\r", 6)
    writer.close()
    assert store.path(1).read_bytes().endswith(b"\xff\x00\x1b[0m\r")


# Where the steps stand.


async def test_a_step_is_found_without_its_header_and_what_follows_it(store: LogStore):
    await write(store.writer(1), "one\ntwo", "", "three\n")
    log = LogStore(store.path(1).parents[1]).open(1)
    spans = [log.layout.span(step_id) for step_id in (11, 12, 13)]
    outputs = [await log.read(span.start, (span.end or 0) - span.start) for span in spans if span]
    assert outputs == [b"one\ntwo", b"", b"three\n"]
    assert [span.first_line for span in spans if span] == [1, 5, 7]
    assert log.layout.span(14) is None


async def test_since_leaves_out_a_step_and_all_before_it(store: LogStore):
    writer = store.writer(1)
    layout = store.open(1).layout
    assert [layout.after(since) for since in (-1, 0, 1, 11, 99)] == [0, 0, None, None, None]
    await writer.begin_step(11, 1, "bash", 0)
    await writer.append(b"one\n", 4)
    assert [layout.after(since) for since in (0, 10, 11, 12)] == [0, 0, None, None]
    assert layout.running is not None and layout.running.step_id == 11
    await writer.end_step(0, 4)
    assert [layout.after(since) for since in (0, 10, 11, 12)] == [0, 0, None, None]
    assert layout.running is None
    second = store.open(1).size
    await writer.begin_step(13, 2, "bash", 4)
    assert [layout.after(since) for since in (0, 10, 11, 12, 13)] == [0, 0, second, second, None]
    await writer.end_step(1, 4)
    last = store.open(1).size
    await writer.seal(stream_text.final_lines("failed", "no"))
    for current in (layout, LogStore(store.path(1).parents[1]).open(1).layout):
        assert [current.after(since) for since in (0, 10, 11, 12, 13, 99)] == [
            0,
            0,
            second,
            second,
            last,
            last,
        ]
    assert (await everything(store.open(1)))[last:] == "=== Build failed: no ===\n=== Build completed ===\n"


async def test_records_inside_a_step_are_dated_to_when_its_output_came(store: LogStore):
    writer = store.writer(1)
    await writer.begin_step(11, 1, "bash", 0)
    await asyncio.sleep(0.03)
    begin = time.time() * 1000
    await writer.append(b"a\n", 2)
    await writer.append(b"b\n", 4)
    end = time.time() * 1000
    await asyncio.sleep(0.3)
    later = time.time() * 1000
    await writer.append(b"c\n", 6)
    writer.close()
    checks = [record for record in on_disk(store) if record.kind is Kind.CHECK]
    header = len(stream_text.header(1, "bash"))
    assert [(record.size - header, record.source, record.lines) for record in checks] == [
        (2, 2, 2), (4, 4, 3), (6, 6, 4),
    ]  # fmt: skip
    assert all(begin - 20 <= record.time <= end + 20 for record in checks[:2])
    assert checks[2].time >= later - 20
    assert all(record.step_id == 11 and record.at == record.size for record in checks)


async def test_a_burst_has_few_records_and_every_part_of_it_one(store: LogStore):
    writer = store.writer(1)
    await writer.begin_step(11, 1, "bash", 0)
    for number in range(1, 1001):
        await writer.append(b"x" * 1023 + b"\n", number * 1024)
    writer.close()
    checks = [record for record in on_disk(store) if record.kind is Kind.CHECK]
    assert 1024 / 64 - 1 <= len(checks) < 200
    distances = [after.size - before.size for before, after in itertools.pairwise(checks)]
    assert max(distances) <= 65 * 1024


# Reading.


async def test_a_log_is_read_from_any_offset(store: LogStore):
    await write(store.writer(1), "line\n" * 1000)
    whole = store.path(1).read_bytes()
    for log in (store.open(1), LogStore(store.path(1).parents[1]).open(1)):
        for offset, limit in [(0, 1), (3, 10), (len(whole) - 1, 5), (0, len(whole)), (0, 10**9), (17, CHUNK)]:
            assert await log.read(offset, limit) == whole[offset : offset + limit]
        assert await log.read(len(whole)) == b""
        assert await log.read(len(whole) + 10) == b""
        assert await log.read(0, 0) == b""


async def test_what_was_just_appended_is_read_like_everything_else(store: LogStore):
    writer = store.writer(1)
    log = store.open(1)
    await writer.begin_step(11, 1, "bash", 0)
    begin = log.size
    await writer.append(b"a" * 100 + b"\n", 101)
    for limit in (1, 100, 101, 102):
        assert await log.read(begin, limit) == (b"a" * 100 + b"\n")[:limit]
    assert await log.read(begin + 1) == b"a" * 99 + b"\n"
    await writer.end_step(0, 101)
    await writer.begin_step(12, 2, "bash", 101)
    # Fewer bytes than asked for mean that this is all there is.
    assert await log.read(begin) == b"a" * 100 + b"\n\n=== Step 2 (bash) ===\n"
    writer.close()


@pytest.mark.parametrize(
    "text",
    ["", "a", "\n", "a\nb\nc\n", "a\nb\nc", "\n\n\n", "a\n\nb\n", "line\n" * 200_000, "x" * (CHUNK + 5)],
)
async def test_a_tail_is_the_last_lines(store: LogStore, text: str):
    path = store.path(1)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    sealed = index.Record(Kind.SEAL, 0, 0, len(text), len(text), 0, 0, 0)
    path.with_suffix(".index").write_bytes(sealed.pack())
    log = store.open(1)
    for start in {0, 1, 2, len(text) // 2, len(text)}:
        lines = text[start:].splitlines(keepends=True)
        for count in (0, 1, 2, 3, 1000, 60_000, 10**9):
            offset = await log.tail(count, start)
            expected = "".join(lines[-count:]) if count else ""
            assert offset >= start or count == 0
            assert text[offset:] == expected, (start, count)


async def test_a_missing_log_is_an_empty_one(store: LogStore):
    log = store.open(5)
    assert (log.size, log.sealed, await log.read(0), await log.tail(3, 0)) == (0, False, b"", 0)
    store.delete(5)


async def test_a_deleted_log_is_gone(store: LogStore):
    await write(store.writer(1), "one\n")
    store.delete(1)
    assert list(store.path(1).parent.iterdir()) == []
    gc.collect()
    assert store.open(1).size == 0


async def test_a_log_whose_file_ends_early_while_it_is_read_is_damaged(store: LogStore):
    await write(store.writer(1), "one\n" * 100_000)
    log = LogStore(store.path(1).parent.parent).open(1)
    output = Output(log, 11)
    assert await log.read(0, 1)
    with store.path(1).open("r+b") as file:
        file.truncate(300_000)
    with pytest.raises(LogUnreadable, match="damaged"):
        _ = [piece async for piece in output.pieces()]


def test_no_folder_grows_too_large(store: LogStore):
    paths = [store.path(job_id) for job_id in (0, 999, 1000, 12_345_678)]
    assert [f"{path.parent.name}/{path.name}" for path in paths] == [
        "0000/0.log", "0000/999.log", "0001/1000.log", "12345/12345678.log",
    ]  # fmt: skip


def test_nobody_else_can_read_a_log(store: LogStore):
    store.writer(1).close()
    for path in (store.path(1), store.path(1).with_suffix(".index")):
        assert path.stat().st_mode & 0o007 == 0
