"""Makes what can still be read of a damaged log into a whole one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rapidflow_web import private_files
from rapidflow_web.logs import stream_text
from rapidflow_web.logs.compressed import BLOCK, Damaged, blocks, damaged_of, path_of
from rapidflow_web.logs.files import open_file
from rapidflow_web.logs.index import RECORD_SIZE, Kind, Record, unpack


@dataclass(frozen=True, slots=True)
class _Gap:
    """Lost bytes: from `start` to `end` of the log as it was, for which a line ends at `after` now."""

    start: int
    end: int
    after: int


def salvage(log: Path, size: int) -> bool:
    """Replaces the compressed forms of `log`, which had `size` bytes, and of its index by plain files.

    A line stands where bytes are lost, and the index points to where the others are now. What was compressed
    is kept beside as `.damaged`. Returns whether such a line was written. Raises `OSError`.
    """
    index = log.with_suffix(".index")
    packed = [path for path in (path_of(log), path_of(index)) if path.exists()]
    if not packed:
        return False
    records = list(unpack(_beginning(index)))
    gaps: list[_Gap] = []
    if not log.exists() and path_of(log).exists():
        gaps = _write(blocks(path_of(log)), log, size)
    if log.exists():
        moved = b"".join(record.pack() for record in _moved(records, gaps, log))
        private_files.write_atomically(index, moved)
    for path in packed:
        path.rename(damaged_of(path))
    return bool(gaps)


def salvage_output(log: Path) -> None:
    """Mends the log of a service, which has nothing but output; no harm to one that is whole.

    Lines stand where bytes are lost, as after `salvage`. What others appended is removed. Raises `OSError`.
    """
    records = list(unpack(_beginning(log.with_suffix(".index"))))
    sealed = records[-1].size if records and records[-1].kind is Kind.SEAL else None
    size = sealed if sealed is not None else _stored_size(log)
    said = salvage(log, size or 0)
    log.touch(mode=0o600)
    with log.open("r+b") as file:
        there = file.seek(0, os.SEEK_END)
        if sealed is not None and there > sealed and not said:
            file.truncate(sealed)
        elif (size is None or there < size) and not said:
            file.seek(max(0, there - len(stream_text.LOST)))
            end = file.read()
            # A repair that was killed may have said it.
            if end != stream_text.LOST:
                file.write((b"" if end[-1:] in (b"", b"\n") else b"\n") + stream_text.LOST)
        file.seek(0)
        lines = sum(chunk.count(b"\n") for chunk in iter(partial(file.read, BLOCK), b""))
        at, now = file.tell(), int(time.time() * 1000)
    found = Record(Kind.START, 0, 0, 0, 0, 0, 0, now), Record(Kind.SEAL, 0, 0, at, at, 0, lines, now)
    private_files.write_atomically(log.with_suffix(".index"), b"".join(record.pack() for record in found))


def _stored_size(log: Path) -> int | None:
    """The bytes of a log by its own file; None where that is not there, or does not say."""
    try:
        file = open_file(log)
    except (Damaged, FileNotFoundError):
        return None
    size = file.size
    file.close()
    return size


def _beginning(index: Path) -> bytes:
    """The records before the first that can't be read: later ones mean nothing without those before."""
    if index.exists():
        return index.read_bytes()
    found = bytearray()
    for block in blocks(path_of(index)) if path_of(index).exists() else ():
        if block is None:
            break
        found += block
    return bytes(found[: len(found) // RECORD_SIZE * RECORD_SIZE])


def _write(found: Iterable[bytes | None], target: Path, size: int) -> list[_Gap]:
    """Writes the blocks of a log that had `size` bytes with a line for each gap; returns the gaps."""
    gaps: list[_Gap] = []
    readable = position = 0
    last = b""
    with private_files.replacing(target) as file:

        def close_gap(start: int, end: int) -> None:
            if start < end:
                file.write(stream_text.lost(end - start, last))
                gaps.append(_Gap(start, end, file.tell()))

        for block in found:
            if block is not None:
                close_gap(readable, position)
                file.write(block)
                last = block[-1:]
                readable = position + len(block)
            position += BLOCK if block is None else len(block)
        close_gap(readable, size)
    return gaps


def _moved(records: Sequence[Record], gaps: Sequence[_Gap], log: Path) -> Iterator[Record]:
    """The records of a log in which lines stand for the gaps, without a seal whose final lines are lost."""
    read = lines = 0
    with log.open("rb") as file:
        for record in records:
            if record.kind is Kind.SEAL and gaps and gaps[-1].end > record.at:
                return
            size = _place(record.size, gaps)
            lines += file.read(size - read).count(b"\n")
            read = size
            yield replace(record, at=_place(record.at, gaps), size=size, lines=lines)


def _place(offset: int, gaps: Sequence[_Gap]) -> int:
    """Where a byte of the log as it was is now; for a lost one, what follows the line in its place."""
    shift = 0
    for gap in gaps:
        if offset <= gap.start:
            break
        if offset < gap.end:
            return gap.after
        shift = gap.after - gap.end
    return offset + shift
