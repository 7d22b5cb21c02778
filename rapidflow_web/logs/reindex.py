"""Makes the index of a log anew, from what is in the log: for one whose own is lost or damaged."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidflow_web import private_files
from rapidflow_web.logs import stream_text
from rapidflow_web.logs.index import Kind, Record

_CHECK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class KnownStep:
    """What is known of a step besides its log. Times are in ms; `exit_code` is -1 where it has none."""

    id: int
    order_num: int
    type: str
    exit_code: int
    started_at: int
    finished_at: int


_NONE = KnownStep(0, 0, "", -1, 0, 0)
_Text = bytes | mmap.mmap


def reindex(log: Path, steps: Sequence[KnownStep], final_lines: bytes) -> None:
    """Writes the index of a plain log, in which `steps` had begun.

    It has a seal where the log ends in its final lines. A step that printed the header of the next one is
    taken to end there. Raises `OSError`.
    """
    index = log.with_suffix(".index")
    with log.open("rb") as file:
        empty = log.stat().st_size == 0
        text = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        records = b"".join(record.pack() for record in _records(text, steps, final_lines))
    private_files.write_atomically(index, records)


def _records(text: _Text, steps: Sequence[KnownStep], final_lines: bytes) -> Iterator[Record]:
    sealed = text[-len(final_lines) :] == final_lines
    end = len(text) - len(final_lines) if sealed else len(text)
    lines = counted = 0

    def record(kind: Kind, step: KnownStep, at: int, size: int, time: int, value: int = 0) -> Record:
        nonlocal lines, counted
        lines += text[counted:size].count(b"\n")
        counted = size
        return Record(kind, value, step.id, at, size, 0, lines, time)

    headers = list(_headers(text, steps, end))
    step = _NONE
    for number, (step, at, start) in enumerate(headers, 1):
        until = headers[number][1] if number < len(headers) else end
        yield record(Kind.START, step, at, start, step.started_at)
        for size in range(start + _CHECK_BYTES, until, _CHECK_BYTES):
            yield record(Kind.CHECK, step, text.rfind(b"\n", 0, size) + 1, size, step.started_at)
        if number < len(headers) or sealed:
            # A newline of ours or two stand before the next header; what the step printed last, nobody knows.
            yield record(Kind.END, step, max(start, until - 1), until, step.finished_at, step.exit_code)
        else:
            yield record(Kind.CHECK, step, text.rfind(b"\n") + 1, until, step.finished_at)
    if sealed:
        yield record(Kind.SEAL, step, end, len(text), step.finished_at)


def _headers(text: _Text, steps: Sequence[KnownStep], end: int) -> Iterator[tuple[KnownStep, int, int]]:
    """The steps whose headers are there, each with where its header begins and ends."""
    position = 0
    for step in steps:
        header = stream_text.header(step.order_num, step.type)
        at = 0 if text[: len(header)] == header else text.find(b"\n" + header, position, end) + 1
        if text[at : at + len(header)] == header:
            position = at + len(header)
            yield step, at, position
