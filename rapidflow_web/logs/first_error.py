"""The line of a log that a person would look for first. For `scan.py`, so it imports nothing that takes long.

All that is here takes time in the length of what it is given, whatever that is, and bounded memory.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator

from rapidflow_web.logs.displayed_text import displayed

_BLOCK = 1024 * 1024
_LONGEST_LINE = 2_000
"""Bytes of a line that are looked at."""
_MOST_CANDIDATES = 20_000

Log = mmap.mmap | bytes

_HINTS = (
    b"error", b"fail", b"panic", b"traceback", b"fatal", b"exception", b"not found", b"***", b"not ok",
    b"npm err!",
)  # fmt: skip
"""What each line has that tells of an error, whatever its case; `_candidates` looks for these first."""
_STRONG = re.compile(
    rb"""
      ^[^\s:]+:\d+(?::\d+)?:\s+(?:fatal\s+)?error\b      # gcc, clang, mypy, go vet
    | ^\s*error(?:\[\w+\])?:\s                            # rustc, pip, many
    | ^error\s+TS\d+ | \(\d+,\d+\):\s+error\s             # tsc, msbuild
    | ^(?:FAILED|ERROR)\s+\S+                             # pytest's summary, maven, bazel
    | ^E\s{3,}\S                                           # pytest
    | ^\s*---\ FAIL:\ | ^\s*FAIL\b                           # go test, jest
    | ^\s*not\ ok\b                                       # tap
    | ^Traceback\ \(most\ recent\ call\ last\)
    | ^\[ERROR\]\s | ^npm\ (?:ERR!|error)
    | ^panic:\s | \bpanicked\ at\b | ^Exception\ in\ thread
    | ^(?i:::error\b|\#\#\[error\])
    | ^fatal:\s
    | (?:command\ not\ found|:\ not\ found)$
    """,
    re.VERBOSE,
)
_WEAK = re.compile(
    rb"^\s*[\w.]*(?:Error|Exception)\b:?|\bERROR\b|(?:^|[:\s])error:|^make(?:\[\d+\])?: \*\*\* |\bfailed\b",
)
_NONE = re.compile(
    # Options are looked for at the start of a word only, or each of many dashes would begin one.
    rb"\b(?:0|no) (?:errors?|fail(?:ed|ures?))\b|\berrors?[:=] ?0\b|(?<!\S)--\S*error",
    re.IGNORECASE,
)


def first_error(log: Log, start: int, end: int, has_failed: bool) -> int | None:
    """The offset of the line that a person would look for first; the last line where nothing tells.

    Where nothing has failed yet, only a line that tells for sure.
    """
    found = telling_line(log, start, end, surely=not has_failed)
    return found if found is not None or not has_failed else _last_line(log, start, end)


def telling_line(log: Log, start: int, end: int, *, surely: bool = False) -> int | None:
    """The offset of the first line that tells of an error, perhaps or `surely`; None where none does."""
    weak: int | None = None
    for at, line in _candidates(log, start, end):
        if _NONE.search(line):
            continue
        if _STRONG.search(line):
            return at
        if weak is None and _WEAK.search(line):
            weak = at
    return None if surely else weak


def _candidates(log: Log, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Lines that may tell of an error, with their offsets, as a reader sees them."""
    taken = 0
    for block_start in range(start, end, _BLOCK):
        # Lines that lie across the end of a block are found by what of them is in either.
        block_end = min(block_start + _BLOCK, end)
        block = log[block_start:block_end].lower()
        seen: set[int] = set()
        for hint in (*_HINTS, b"\ne   "):
            at = block.find(hint)
            while at >= 0 and len(seen) < _MOST_CANDIDATES:
                at += hint.startswith(b"\n")
                if (begin := _line_start(log, block_start + at, start)) is not None:
                    seen.add(begin)
                newline = block.find(b"\n", at)
                at = block.find(hint, newline) if newline >= 0 else -1
        for at in sorted(seen):
            newline = log.find(b"\n", at, min(end, at + _LONGEST_LINE))
            line = log[at : newline if newline >= 0 else min(end, at + _LONGEST_LINE)]
            yield at, displayed(line)
        taken += len(seen)
        if taken > _MOST_CANDIDATES:
            return


def _line_start(log: Log, at: int, start: int) -> int | None:
    """Where the line begins that `at` is in; None where that is further away than is looked at."""
    nearest = max(start, at - _LONGEST_LINE)
    newline = log.rfind(b"\n", nearest, at)
    return newline + 1 if newline >= 0 else start if nearest == start else None


def _last_line(log: Log, start: int, end: int) -> int | None:
    for block_end in range(end, start, -_BLOCK):
        block_start = max(start, block_end - _BLOCK)
        if block := log[block_start:block_end].rstrip():
            return max(log.rfind(b"\n", start, block_start + len(block)) + 1, start)
    return None
