"""Where the lines of a log stand and when they were written, found without reading the log."""

from __future__ import annotations

from pathlib import Path

from rapidflow_web.logs.index import IndexFile, Kind

_POINT_BYTES = 64 * 1024


def points(index: Path, size: int, after: int = -1) -> list[tuple[int, int]]:
    """Line starts beyond the offset `after`, one in about 64 KiB, as offset and number of newlines before.

    `index` is the file beside a log of `size` bytes. A line that is longer than that has only its start.
    """
    found: list[tuple[int, int]] = [(0, 0)] if after < 0 else []
    last = max(after, 0)
    with IndexFile(index, size) as records:
        number = records.first_beyond(last + _POINT_BYTES - 1)
        while number < len(records):
            record = records[number]
            start = record.at if record.kind is Kind.CHECK else record.size
            if start > last:
                found.append((start, record.lines))
                last = start
            number = records.first_beyond(max(last + _POINT_BYTES - 1, record.size), number)
    return found


def times(index: Path, size: int, start: int, end: int, most: int) -> list[tuple[int, int]]:
    """When the bytes from `start` to `end` were written: offsets, each with the time in ms from there on.

    At most `most` of them, evenly thinned where there are more.
    """
    with IndexFile(index, size) as records:
        first = records.first_beyond(start)
        last = min(records.first_beyond(end - 1, first) + 1, len(records))
        every = max(1, -(-(last - first) // most))
        return [
            (records.size_at(number - 1) if number else 0, records[number].time)
            for number in range(first, last, every)
        ]
