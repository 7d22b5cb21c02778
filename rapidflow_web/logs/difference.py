"""Where two logs first differ in what they say: times, numbers, hashes and addresses don't count. Pure.

Takes time in the length of what it is given, seconds for the longest: `scan.py` does it in its process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from rapidflow_web.logs.displayed_text import displayed

MOST = 4 * 1024 * 1024
"""Bytes of each log that are compared."""
_BLOCK = 64 * 1024
_LONGEST_LINE = 256 * 1024
"""Bytes of a line that are compared."""
_LONGEST_SHOWN = 300
"""Characters."""

_UNIT = (
    rb"(?:[num\xc2\xb5]{0,3}s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?"
    rb"|milliseconds?|microseconds?|nanoseconds?)\b"
)
_LENGTH = rb"[0-9]++(?:[.,][0-9]++)?+[ ]?" + _UNIT
_VARIES = re.compile(
    # Most characters begin nothing of it.
    rb"(?=[0-9a-fA-F:sMTWSJNOPt])(?:"
    # Times, with and without fractions and zones.
    rb"\b[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:[.,][0-9]++)?"
    rb"(?:Z\b|[ ]?[+-][0-9]{2}:?[0-9]{2}\b)?)?"
    # Addresses: of hardware, and of version 6.
    rb"|(?<![\w:])(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?![\w:]|[.,][0-9])"
    rb"|(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:]|[.,][0-9])"
    # Times of day and names of days.
    rb"|\b[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:[.,][0-9]++)?"
    rb"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|AM|PM)\b"
    # Sums and identifiers; lengths of time, whose digits may look like some.
    rb"|\bsha[0-9]{1,3}[-:][A-Za-z0-9+/]{6,}+={0,2}"
    rb"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    rb"|" + _LENGTH + rb"(?:[ ,]{0,2}" + _LENGTH + rb")*+"
    rb"|\b0x[0-9a-fA-F]++|\b[0-9a-fA-F]{7,64}\b"
    # Files and folders with names made up.
    rb"|\btmp[._][A-Za-z0-9]{6,20}\b|(?<=/tmp/)tmp[a-z0-9_]{8}\b"
    rb"|[0-9]+)"
)
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_SPACES = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class Difference:
    """What either log has in the first line that differs, and the offset at which that line begins there.

    The `line` is counted from 0. The text is None, and the offset the log's end, where it has ended.
    """

    line: int
    one: str | None
    other: str | None
    at_one: int
    at_other: int


def first_difference(
    one: bytes, other: bytes, *, one_goes_on: bool = False, other_goes_on: bool = False
) -> Difference | None:
    """The first line in which two logs differ; None where they say the same.

    One that goes on is compared as far as it has whole lines, and ends nowhere.
    """
    if one_goes_on:
        one = one[: one.rfind(b"\n") + 1]
    if other_goes_on:
        other = other[: other.rfind(b"\n") + 1]
    start, line = _common(one, other)
    for number, (left, right) in enumerate(zip_longest(_lines(one, start), _lines(other, start)), line):
        if (left is None and one_goes_on) or (right is None and other_goes_on):
            return None
        at_one, left_line = left or (len(one), None)
        at_other, right_line = right or (len(other), None)
        if left_line is None or right_line is None or _differ(left_line, right_line):
            return Difference(number, _shown(left_line), _shown(right_line), at_one, at_other)
    return None


def _common(one: bytes, other: bytes) -> tuple[int, int]:
    """Where the first line begins that is not the same byte for byte, as offset and number."""
    at = 0
    end = min(len(one), len(other))
    while at < end and one[at : at + _BLOCK] == other[at : at + _BLOCK]:
        at += _BLOCK
    start = one.rfind(b"\n", 0, min(at, end)) + 1
    return start, one.count(b"\n", 0, start)


def _lines(log: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The lines from an offset on, each with its own."""
    size = len(log)
    while at < size:
        newline = log.find(b"\n", at)
        end = newline if newline >= 0 else size
        yield at, log[at : min(end, at + _LONGEST_LINE)]
        at = end + 1


def _differ(one: bytes, other: bytes) -> bool:
    # The first two are faster, and enough for most lines.
    return (
        one != other
        and one.translate(_DIGITS) != other.translate(_DIGITS)
        and _meaning(one) != _meaning(other)
    )


def _meaning(line: bytes) -> bytes:
    return _SPACES.sub(b" ", _VARIES.sub(b"0", displayed(line))).strip()


def _shown(line: bytes | None) -> str | None:
    return None if line is None else displayed(line).decode("utf-8", "replace")[:_LONGEST_SHOWN]
