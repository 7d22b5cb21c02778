"""What is left of a compressed log that was damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from rapidflow_web.logs.compressed import BLOCK, path_of
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.salvage import salvage, salvage_output
from rapidflow_web.logs.stream_text import COMPLETED, LOST

LINES = b"".join(b"%d: a line of some length\n" % number for number in range(30_000))


async def compressed_log(folder: Path) -> tuple[Path, bytes]:
    """A log of two steps that is at rest, and what it holds."""
    store = LogStore(folder)
    writer = store.writer(1)
    source = 0
    for step_id in (1, 2):
        await writer.begin_step(step_id, step_id, "bash", source)
        for start in range(0, len(LINES), 70_000):
            source += len(LINES[start : start + 70_000])
            await writer.append(LINES[start : start + 70_000], source)
        await writer.end_step(0, source)
    await writer.seal(COMPLETED)
    path = store.path(1)
    whole = path.read_bytes()
    store.compress(1)
    return path, whole


def damage(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


async def test_all_readable_frames_are_kept_around_a_damaged_one(tmp_path: Path) -> None:
    path, whole = await compressed_log(tmp_path)
    damage(path_of(path), path_of(path).stat().st_size // 4)
    assert salvage(path, len(whole))

    text = path.read_bytes()
    start = next(number for number in range(len(whole)) if text[number] != whole[number]) // BLOCK * BLOCK
    line = f"\n=== {BLOCK:,} bytes of this log are lost ===\n".encode()
    assert text == whole[:start] + line + whole[start + BLOCK :]
    log = LogStore(tmp_path).open(1)
    assert (log.sealed, log.size, log.lines) == (True, len(text), text.count(b"\n"))
    first, second = log.layout.spans
    assert text[first.start : first.end] == whole[22 : 22 + len(LINES)].replace(
        whole[start : start + BLOCK], line
    )
    assert text[second.start : second.end] == LINES
    assert text[second.header : second.start] == b"=== Step 2 (bash) ===\n"
    assert second.first_line == text[: second.start].count(b"\n")
    assert log.layout.final == len(text) - len(COMPLETED)
    assert path_of(path).with_name(f"{path.name}.zst.damaged").exists()
    assert not path_of(path).exists()


async def test_whole_frames_before_a_cut_are_kept(tmp_path: Path) -> None:
    path, whole = await compressed_log(tmp_path)
    with path_of(path).open("r+b") as file:
        file.truncate(path_of(path).stat().st_size // 2)
    assert salvage(path, len(whole))
    text, line = path.read_bytes(), b"bytes of this log are lost ===\n"
    kept = text.index(b"\n=== ", 100)
    assert kept % BLOCK == 0
    assert kept > 0
    assert text == whole[:kept] + f"\n=== {len(whole) - kept:,} ".encode() + line
    log = LogStore(tmp_path).open(1)
    assert not log.sealed  # its final lines are lost, and whoever mends it writes them anew
    assert log.size == len(text)
    assert [span.exit_code for span in log.layout.spans] == [0, 0]


@pytest.mark.parametrize("position", [0, -40])
async def test_a_first_and_a_last_frame_may_be_the_damaged_one(tmp_path: Path, position: int) -> None:
    path, whole = await compressed_log(tmp_path)
    size = path_of(path).stat().st_size
    # The table takes 8 bytes a frame, a header of 8 and a footer of 9.
    table = 17 + 8 * -(-len(whole) // BLOCK)
    damage(path_of(path), size - table - 10 if position else 20)
    assert salvage(path, len(whole))
    log, text = LogStore(tmp_path).open(1), path.read_bytes()
    assert log.size <= len(text)
    assert log.sealed == (position == 0)
    assert text.startswith(b"=== 131,072 bytes of this log are lost ===\n") == (position == 0)


def test_a_log_that_is_not_compressed_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    path.write_bytes(b"text")
    assert not salvage(path, 4)
    assert list(tmp_path.iterdir()) == [path]


async def service_log(folder: Path) -> Path:
    """The log of a service, whole and not compressed."""
    writer = LogStore(folder).writer(1, service="db")
    await writer.begin_output()
    for start in range(0, len(LINES), 70_000):
        await writer.append(LINES[start : start + 70_000], start + 70_000)
    await writer.seal_output()
    return LogStore(folder).path(1, "db")


def shown(folder: Path) -> bytes:
    """What a reader gets of the log of a service, which must be whole."""
    log = LogStore(folder).open(1, "db")
    text = log.path.read_bytes()
    assert (log.sealed, log.size, log.lines) == (True, len(text), text.count(b"\n"))
    return text


async def test_of_a_plain_log_of_a_service_all_is_kept_that_is_there(tmp_path: Path) -> None:
    path = await service_log(tmp_path)
    salvage_output(path)
    assert shown(tmp_path) == LINES
    with path.open("ab") as file:
        file.write(b"somebody was here\n")
    salvage_output(path)
    assert shown(tmp_path) == LINES
    path.with_suffix(".index").unlink()
    salvage_output(path)
    assert shown(tmp_path) == LINES
    path.write_bytes(LINES[:1010])
    for _ in range(2):
        salvage_output(path)
        assert shown(tmp_path) == LINES[:1010] + b"\n" + LOST
    path.unlink()
    salvage_output(path)
    assert shown(tmp_path) == LOST


async def test_of_a_compressed_log_of_a_service_all_readable_frames_are_kept(tmp_path: Path) -> None:
    path = await service_log(tmp_path)
    LogStore(tmp_path).compress(1)
    damage(path_of(path), path_of(path).stat().st_size // 2)
    salvage_output(path)
    text = shown(tmp_path)
    start = next(number for number in range(len(LINES)) if text[number] != LINES[number]) // BLOCK * BLOCK
    line = f"\n=== {BLOCK:,} bytes of this log are lost ===\n".encode()
    assert text == LINES[:start] + line + LINES[start + BLOCK :]


async def test_of_a_log_of_a_service_whose_size_is_lost_the_beginning_is_kept(tmp_path: Path) -> None:
    path = await service_log(tmp_path)
    LogStore(tmp_path).compress(1)
    with path_of(path).open("r+b") as packed:
        packed.truncate(path_of(path).stat().st_size * 3 // 4)
    path.with_suffix(".index").unlink()
    salvage_output(path)
    text = shown(tmp_path)
    kept = LINES[: len(text) // BLOCK * BLOCK]
    assert text == kept + (b"" if kept.endswith(b"\n") else b"\n") + LOST
    assert len(text) > BLOCK
