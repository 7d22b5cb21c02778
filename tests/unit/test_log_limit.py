"""A log that is longer than it may be keeps its beginning and the end of each step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rapidflow_web.logs.log import LogStore

LIMIT = 64 * 1024
KEPT = LIMIT // 2
LINES = [f"line {number:06}\n".encode() for number in range(10_000)]


@pytest.fixture
def store(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs")


async def stream(store: LogStore) -> bytes:
    log = store.open(1)
    data = b""
    while chunk := await log.read(len(data)):
        data += chunk
    return data


def numbers(data: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"^line ([0-9]{6})$", data, re.MULTILINE)]


async def test_the_beginning_and_the_end_are_kept_and_the_line_between_counts_what_is_not(store: LogStore):
    writer = store.writer(1, LIMIT)
    await writer.begin_step(11, 1, "bash", 0)
    source = 0
    for line in LINES:
        source += len(line)
        await writer.append(line, source)
    followed = await stream(store)
    assert len(followed) == LIMIT - KEPT
    await writer.end_step(0, source)
    await writer.seal(b"")
    whole = await stream(store)
    assert whole.startswith(followed)
    notice = re.search(rb"\n=== ([0-9,]+) bytes are left out: the log may have at most 64k ===\n", whole)
    assert notice is not None
    count = int(notice[1].replace(b",", b""))
    before, after = whole[: notice.start()], whole[notice.end() :]
    assert len(before) + len(after) - len("\n") - len("=== Step 1 (bash) ===\n") + count == source
    kept = numbers(after)
    assert kept == list(range(10_000 - len(kept), 10_000))
    assert KEPT - len(LINES[0]) < len(after) - 1 <= KEPT


async def test_a_log_within_its_limit_is_left_as_it_is(store: LogStore):
    writer = store.writer(1, LIMIT)
    await writer.begin_step(11, 1, "bash", 0)
    data = b"x" * (LIMIT - KEPT - len("=== Step 1 (bash) ===\n"))
    await writer.append(data, len(data))
    await writer.end_step(0, len(data))
    await writer.seal(b"")
    assert await stream(store) == b"=== Step 1 (bash) ===\n" + data + b"\n\n"


async def test_what_is_kept_whole_is_not_announced(store: LogStore):
    writer = store.writer(1, LIMIT)
    await writer.begin_step(11, 1, "bash", 0)
    data = b"y" * LIMIT
    await writer.append(data[:-1000], len(data) - 1000)
    await writer.end_step(0, len(data) - 1000)
    await writer.seal(b"")
    assert (await stream(store)).count(b"y") == len(data) - 1000
    assert b"left out" not in await stream(store)


async def test_each_later_step_keeps_its_end(store: LogStore):
    writer = store.writer(1, LIMIT)
    source = 0
    for number in (1, 2):
        await writer.begin_step(10 + number, number, "bash", source)
        for line in LINES:
            source += len(line)
            await writer.append(line, source)
        await writer.end_step(0, source)
    await writer.begin_step(13, 3, "bash", source)
    await writer.append(b"short\n", source + 6)
    await writer.end_step(0, source + 6)
    await writer.seal(b"")
    whole = await stream(store)
    assert whole.count(b"bytes are left out") == 2
    assert numbers(whole).count(9_999) == 2
    assert whole.endswith(b"=== Step 3 (bash) ===\nshort\n\n")


async def test_a_later_writer_goes_on_from_where_output_was_withheld(store: LogStore):
    writer = store.writer(1, LIMIT)
    await writer.begin_step(11, 1, "bash", 0)
    output = b"".join(LINES)
    for start in range(0, 100_000, 5_000):
        await writer.append(output[start : start + 5_000], start + 5_000)
    writer.close()

    again = LogStore(store.path(1).parent.parent)
    later = again.writer(1, LIMIT)
    assert later.source <= LIMIT - KEPT
    await later.append(output[later.source :], len(output))
    await later.end_step(0, len(output))
    await later.seal(b"")

    expected = LogStore(store.path(1).parent.parent / "expected")
    undisturbed = expected.writer(1, LIMIT)
    await undisturbed.begin_step(11, 1, "bash", 0)
    await undisturbed.append(output, len(output))
    await undisturbed.end_step(0, len(output))
    await undisturbed.seal(b"")
    assert await stream(again) == await stream(expected)


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("end_of_line", [b"\n", b""])
@pytest.mark.parametrize("piece", [1, 4096, 1_000_000])
async def test_no_character_is_cut_in_two(store: LogStore, shift: int, end_of_line: bytes, piece: int):
    writer = store.writer(1, LIMIT)
    await writer.begin_step(11, 1, "bash", 0)
    data = b"x" * shift + ("\U0001f600".encode() + end_of_line) * 30_000
    for start in range(0, len(data), piece):
        await writer.append(data[start : start + piece], min(len(data), start + piece))
    await writer.end_step(0, len(data))
    await writer.seal(b"")
    text = (await stream(store)).decode()
    (left_out,) = re.findall(r"=== ([0-9,]+) bytes are left out", text)
    kept = text.count("\U0001f600") * len(b"----" + end_of_line) + shift
    assert abs(int(left_out.replace(",", "")) + kept - len(data)) <= len(b"\n")


async def test_what_stands_for_a_secret_is_kept_whole_or_not_at_all(store: LogStore):
    writer = store.writer(1, LIMIT)
    await writer.begin_step(11, 1, "bash", 0)
    data = b"x" * (LIMIT - KEPT - len("=== Step 1 (bash) ===\n") - 1)
    await writer.append(data, len(data))
    # Of the secret's twenty bytes not one is left to print for whoever goes on here.
    await writer.append(b"***", len(data) + 20, whole=True)
    assert writer.source == len(data)
    assert not writer.has_room(1)
    await writer.append(b"y", len(data) + 21)
    assert writer.source == len(data)
    await writer.end_step(0, len(data) + 21)
    await writer.seal(b"")
    assert (await stream(store)).endswith(b"x***y\n\n")


async def test_a_later_writer_goes_on_after_what_was_accounted_for(store: LogStore):
    writer = store.writer(1)
    await writer.begin_step(11, 1, "bash", 0)
    assert await writer.at_line_start()
    await writer.append(b"one", 3)
    await writer.append(b"two", 6)
    await writer.check()
    assert not await writer.at_line_start()
    writer.close()
    later = LogStore(store.path(1).parent.parent).writer(1)
    assert (later.source, await stream(store)) == (6, b"=== Step 1 (bash) ===\nonetwo")
    later.close()
