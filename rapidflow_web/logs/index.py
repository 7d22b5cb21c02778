"""The index beside a log: fixed-size records, appended after the bytes that they describe.

A log is cut back to its last record after a crash, so whatever is in the log up to a record's `size` is
accounted for, together with the offset in the agent's output (`source`) from which to read on.
"""

from __future__ import annotations

import bisect
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from rapidflow_web.logs.compressed import CompressedFile, path_of
from rapidflow_web.logs.files import open_file

# The kind comes last: a record that was only written in part, and filled up with zeros, has none.
_RECORD = struct.Struct("<iQQQQQQxxxB")
RECORD_SIZE = _RECORD.size
_SIZE = struct.Struct("<Q")
_SIZE_AT = struct.calcsize("<iQQ")
_KEPT_BLOCKS = 8


class Kind(IntEnum):
    """What a record stands for."""

    START = 1
    """A step began: `at` is the first byte of its header, `size` the first byte of its output."""
    CHECK = 2
    """Somewhere inside a step: `size` is the end of the log, `at` where its last line begins."""
    END = 3
    """A step ended with exit code `value`: `at` is the end of its output, `size` where the next begins."""
    SEAL = 4
    """The build ended: `at` is the first byte of the final lines, `size` the end of the log for good."""


_KNOWN = bytes(Kind)


@dataclass(frozen=True, slots=True)
class Record:
    """One record. Offsets are in bytes, `lines` counts the newlines before `size`, `time` is in ms."""

    kind: Kind
    value: int
    step_id: int
    at: int
    size: int
    source: int
    lines: int
    time: int

    def pack(self) -> bytes:
        """The record as it is stored, `RECORD_SIZE` bytes."""
        return _RECORD.pack(
            self.value, self.step_id, self.at, self.size, self.source, self.lines, self.time, self.kind
        )


def unpack(data: bytes) -> Iterator[Record]:
    """The records in `data`, up to one that is torn or was never written."""
    for number in range(len(_kinds(data))):
        yield _record(data, number)


def unsealed(data: bytes) -> bytes:
    """The records in `data` without the last one if that is a seal: those of a build that has not ended."""
    kinds = _kinds(data)
    count = len(kinds) - (kinds[-1:] == bytes([Kind.SEAL]))
    return data[: count * RECORD_SIZE]


def load(path: Path, size: int) -> tuple[list[Record], int]:
    """The records of an index file that a log of `size` bytes bears out, and how many bytes they take there.

    Of those inside steps only the last is among them, and only at the end: long builds have a great many.
    After a loss of power the log may be shorter than the index says. No file is an empty one.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        return [], 0
    data = file.read(0, file.size)
    file.close()
    kinds = _kinds(data)
    count = len(kinds)
    while count and _record(data, count - 1).size > size:
        count -= 1
    check, last = int(Kind.CHECK), count - 1
    wanted = (n for n, kind in enumerate(kinds[:count]) if kind != check or n == last)
    return [_record(data, number) for number in wanted], count * RECORD_SIZE


def _kinds(data: bytes) -> bytes:
    """The kind of each record, up to one that has none: after a loss of power a file may end in zeros."""
    kinds = data[RECORD_SIZE - 1 :: RECORD_SIZE]
    return kinds[: len(kinds) - len(kinds.lstrip(_KNOWN))]


def _record(data: bytes | mmap.mmap, number: int = 0) -> Record:
    *numbers, kind = _RECORD.unpack_from(data, number * RECORD_SIZE)
    return Record(Kind(kind), *numbers)


class IndexFile:
    """All records of an index file, which may have millions; none is read that is not asked for.

    Used as a context. No file is an empty one. `size` of the log bounds what of the index is known.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._data: mmap.mmap | CompressedFile | None = None
        self._count = 0

    def __enter__(self) -> IndexFile:
        try:
            self._data = self._opened()
        except (FileNotFoundError, ValueError):
            return self  # nothing was written yet
        self._count = bisect.bisect_right(range(len(self._data) // RECORD_SIZE), self._size, key=self.size_at)
        return self

    def __exit__(self, *_: object) -> None:
        if self._data is not None:
            self._data.close()

    def _opened(self) -> mmap.mmap | CompressedFile:
        try:
            with self._path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            return CompressedFile(path_of(self._path), _KEPT_BLOCKS)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Record:
        return _record(self._bytes(number * RECORD_SIZE, RECORD_SIZE))

    def size_at(self, number: int) -> int:
        """The size of the log at a record, in bytes; never smaller than at the one before."""
        return _SIZE.unpack(self._bytes(number * RECORD_SIZE + _SIZE_AT, _SIZE.size))[0]

    def _bytes(self, start: int, count: int) -> bytes:
        if isinstance(self._data, CompressedFile):
            return self._data.read(start, count)
        return self._data[start : start + count] if self._data is not None else b""

    def first_beyond(self, offset: int, start: int = 0) -> int:
        """The number of the first record, from `start` on, at which the log was larger than `offset`."""
        return bisect.bisect_right(range(self._count), offset, lo=start, key=self.size_at)


@dataclass(slots=True)
class Span:
    """Where a step stands in its log, in bytes; `first_line` counts from 0.

    `end` and `exit_code` are None while it runs; the code is -1 where the build ended during the step.
    """

    step_id: int
    header: int
    start: int
    first_line: int
    end: int | None = None
    exit_code: int | None = None


class Layout:
    """Where the steps of a log stand, from its records."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.final: int | None = None
        """Where the final lines begin; None while there are none."""

    def add(self, record: Record) -> None:
        """Takes note of one more record; records come in their order."""
        if record.kind is Kind.START:
            self.spans.append(Span(record.step_id, record.at, record.size, record.lines))
        elif record.kind is Kind.END:
            self.spans[-1].end, self.spans[-1].exit_code = record.at, record.value
        elif record.kind is Kind.SEAL:
            self.final = record.at
            if self.spans and self.spans[-1].end is None:
                self.spans[-1].end = record.at

    def span(self, step_id: int) -> Span | None:
        """Where a step stands; None if it never started."""
        return next((span for span in self.spans if span.step_id == step_id), None)

    @property
    def running(self) -> Span | None:
        """The step that has begun and not ended."""
        return self.spans[-1] if self.spans and self.spans[-1].end is None else None

    def after(self, step_id: int) -> int | None:
        """Where the stream without `step_id` and all earlier steps begins; None while that is not known."""
        if step_id <= 0:
            return 0
        return next((span.header for span in self.spans if span.step_id > step_id), self.final)
