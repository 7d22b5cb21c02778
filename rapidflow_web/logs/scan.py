"""Looks through a whole log, in a process of its own: it may take seconds, and can be killed.

    python scan.py PATH SIZE [PATH SIZE] <request.json

answers a request of `{"seconds": …, "search": …}`, `{"seconds": …, "outline": …}`, `{"seconds": …,
"telling_line": …}` or, of two logs, `{"seconds": …, "difference": …}` in JSON on standard output, and ends
after so many seconds in any case; `search.py` says more. With `"packages": …` that folder has the engine for
regular expressions, which takes time in the length of the log and no more.
Imports little, so that it starts in some milliseconds.

All that is here takes time in the length of what it is given, whatever that is, and bounded memory.
"""

from __future__ import annotations

import heapq
import importlib
import itertools
import json
import mmap
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

if __name__ == "__main__":  # where the script is, without pathlib, which takes as long to import as all else
    sys.path.append(__file__.rsplit("/", 3)[0])

from rapidflow_web.logs.carried_styles import carried_styles
from rapidflow_web.logs.displayed_text import announced, displayed
from rapidflow_web.logs.first_error import first_error, telling_line

_BLOCK = 1024 * 1024
_MOST_MEMORY = 256 * 1024 * 1024
"""Bytes of address space, besides the log's own, that the process may have."""
_MOST_LINES = 10_000
_MOST_GROUPS = 5_000
_MOST_MARKERS = 100_000
"""Beginnings and ends of groups that are looked at."""
_MOST_OPEN = 100
"""Groups within groups; a build that prints more never closes any."""
_LONGEST_LINE = 2_000
"""Bytes of a line that are looked at for a title."""
_LONGEST_SEARCHED = 4 * 1024 * 1024
"""Bytes of a line that are searched, for it is held in memory; the rest of a longer one is not."""

Log = mmap.mmap | bytes
Matching = Callable[[bytes], Iterator[int]]
"""Takes whole lines; gives the numbers of those that match, counted from 0."""


def _blocks(log: Log) -> Iterator[bytes]:
    """The log in pieces of whole lines, the longest of which are cut off."""
    start, size = 0, len(log)
    while start < size:
        end = min(start + _BLOCK, size)
        if end < size:
            newline = log.rfind(b"\n", start, end)
            if newline < 0:
                newline = log.find(b"\n", end)
            end = newline + 1 if newline >= 0 else size
        if end - start > _LONGEST_SEARCHED:  # which is a single line
            yield log[start : start + _LONGEST_SEARCHED] + log[end - 1 : end]
        else:
            yield log[start:end]
        start = end


# Search


def search(log: Log, text: str, case: bool, regex: bool) -> dict[str, Any]:
    """The lines that match, as a reader sees them. Raises `BadPattern`."""
    matching = _by_regex(text, case) if regex else _by_text(text, case)
    count, lines, first = 0, list[int](), 0
    for block in _blocks(log):
        for line in matching(displayed(announced(block))):
            count += 1
            if len(lines) < _MOST_LINES:
                lines.append(first + line)
        first += block.count(b"\n")
    return {"count": count, "lines": lines, "complete": count == len(lines), "size": len(log)}


class BadPattern(Exception):
    """What is searched for is no regular expression; the message says why."""


def _by_text(text: str, case: bool) -> Matching:
    if not case and not text.isascii():
        return _by_regex(text, case, literal=True)  # which knows the other case of all letters

    def matching(block: bytes) -> Iterator[int]:
        if case:
            return _found(block, text.encode())
        return _found(block.lower(), text.lower().encode())

    return matching


def _found(block: bytes, needle: bytes) -> Iterator[int]:
    """The lines of `block` that have `needle`, counted from 0."""
    line = counted = 0
    at = block.find(needle)
    while at >= 0:
        line += block.count(b"\n", counted, at)
        yield line
        end = block.find(b"\n", at)
        if end < 0:
            return
        line, counted = line + 1, end + 1
        at = block.find(needle, counted)


def _by_regex(text: str, case: bool, literal: bool = False) -> Matching:
    # Here, because it takes as long as half of all else, and an outline does without.
    re2: Any = importlib.import_module("re2")
    options = re2.Options()
    options.case_sensitive, options.never_nl = case, True
    options.never_capture, options.log_errors = True, False
    try:
        re2.compile(text, options)  # by itself, for its error to be about what was asked for
        # To the end of the line, so that a line is found once.
        pattern = re2.compile(f"(?m:{re2.escape(text) if literal else text})[^\n]*", options)
    except re2.error as error:
        raise BadPattern(bytes(error.args[0]).decode("utf-8", "replace")) from None

    def matching(block: bytes) -> Iterator[int]:
        # The engine reads no broken UTF-8, which a reader sees as one character.
        if not block.isascii():
            block = block.decode("utf-8", "replace").encode()
        size = len(block)
        line = counted = 0
        for match in pattern.finditer(block):
            at = match.start()
            if at < counted or (at == size and block.endswith(b"\n")):
                continue  # the line's end, after all of it; what follows the last newline is no line
            line += block.count(b"\n", counted, at)
            yield line
            end = block.find(b"\n", at)
            if end < 0:
                return
            line, counted = line + 1, end + 1

    return matching


# Outline

_OPENS = (b"::group::", b"##[group]")
_CLOSES = (b"::endgroup::", b"##[endgroup]")
_BUILDKITE = (b"--- ", b"+++ ", b"~~~ ")
_GITLAB = re.compile(rb"section_(start|end):[0-9]{1,20}:([^\s\[\r]{1,200})(\[[^\]\r\n]{0,200}\])?\r?")


def outline(
    log: Log,
    steps: list[list[int]],
    suspect: list[int] | None,
    has_failed: bool = True,
    points: list[int] | None = None,
) -> dict[str, Any]:
    """The groups in the `steps`, each a first and a last offset, and the first error in the `suspect` one.

    `marked` says of a group that its last line is nothing but a marker. With `points`, also the `styles` with
    which the parts of the log begin that begin there, where they change, for those before `styles_until`.
    """
    made = (group for start, end in steps for group in _groups(log, start, end))
    groups = list(itertools.islice(made, _MOST_GROUPS))
    error = first_error(log, suspect[0], suspect[1], has_failed) if suspect else None
    places = {at for group in groups for at in group["at"]}
    if error is not None:
        places.add(error)
    line_of, counted, lines = dict[int, int](), 0, 0
    for place in sorted(places):
        lines += _count(log, counted, place)
        line_of[place], counted = lines, place
    firsts = {line_of[group["at"][0]] for group in groups}
    for group in groups:
        start, end = group.pop("at")
        # What ends a group at the start of a line is not part of it, unless it is its own end marker.
        before = group.pop("before")
        group["line"], group["end"] = line_of[start], max(line_of[end] - before, line_of[start])
        if group["end"] in firsts and not before:
            group["end"] = max(group["end"] - 1, group["line"])  # that line begins the next one
            before = 1
        group["marked"] = not before and group["end"] > group["line"] and _is_only_a_marker(log, end)
    return {
        "groups": groups,
        "error": None if error is None else {"line": line_of[error], "offset": error},
        **_styles(log, points or []),
    }


def _count(log: Log, start: int, end: int) -> int:
    """The newlines between two offsets."""
    # A mapped file can't be counted in, only what is copied out of it.
    return sum(log[at : min(at + _BLOCK, end)].count(b"\n") for at in range(start, end, _BLOCK))


def _styles(log: Log, points: list[int]) -> dict[str, Any]:
    try:
        carried = carried_styles(log, points)
    except Exception as error:
        # Colours are no reason to go without groups and errors.
        return {"styles": [], "styles_until": 0, "styles_missing": repr(error)[:200]}
    return {"styles": carried.styles, "styles_until": carried.until}


def _groups(log: Log, start: int, end: int) -> Iterator[dict[str, Any]]:
    """The groups between two offsets: `at` are the offsets of the first line and of where it ends."""
    open_: list[dict[str, Any]] = []
    done: list[dict[str, Any]] = []

    def close(group: dict[str, Any], at: int, before: int) -> None:
        open_.remove(group)
        group["at"], group["before"] = (group["at"], at), before
        done.append(group)

    for at, kind, name, title, closed in itertools.islice(_markers(log, start, end), _MOST_MARKERS):
        if kind == "section":
            for group in [group for group in open_ if group["kind"] == "section"]:
                close(group, at, 1)
        elif kind == "end":
            named = [group for group in open_ if group["name"] == name]
            if named:
                # What was opened inside it and not closed ends with it.
                for group in open_[open_.index(named[-1]) :][::-1]:
                    close(group, at, 0)
            continue
        if len(open_) < _MOST_OPEN:
            open_.append({"at": at, "kind": kind, "name": name, "title": title, "closed": closed})
    for group in open_[::-1]:
        close(group, end, 1)
    for group in sorted(done, key=lambda group: group["at"]):
        yield {key: group[key] for key in ("at", "before", "title", "closed")}


_Marker = tuple[int, str, str, str, bool]
"""Its offset, its kind, a name, a title, and whether the group is closed at first."""


def _markers(log: Log, start: int, end: int) -> Iterator[_Marker]:
    """All of them, in order."""

    def opens(needle: bytes) -> Iterator[_Marker]:
        for at in _line_starts(log, needle, start, end):
            yield at, "group", "", _title(log, at + len(needle), end), False

    def closes(needle: bytes) -> Iterator[_Marker]:
        for at in _line_starts(log, needle, start, end):
            yield at, "end", "", "", False

    def sections(needle: bytes) -> Iterator[_Marker]:
        for at in _line_starts(log, needle, start, end):
            if not _is_diff(log, needle, at, end):
                yield at, "section", "buildkite", _title(log, at + len(needle), end), needle != b"+++ "

    return heapq.merge(
        *map(opens, _OPENS), *map(closes, _CLOSES), *map(sections, _BUILDKITE), _named(log, start, end)
    )


def _named(log: Log, start: int, end: int) -> Iterator[_Marker]:
    at = log.find(b"section_", start, end)
    while at >= 0:
        after = at + 1
        if match := _GITLAB.match(log, at, min(at + _LONGEST_LINE, end)):
            name, options = match[2].decode("utf-8", "replace"), match[3] or b""
            kind = "named" if match[1] == b"start" else "end"
            title = _title(log, match.end(), end) if kind == "named" else ""
            yield at, kind, name, title or name, b"collapsed=true" in options
            after = match.end()
        at = log.find(b"section_", after, end)


def _is_only_a_marker(log: Log, at: int) -> bool:
    """Whether the line with a marker at `at` shows nothing else, and begins no group."""
    near = max(0, at - _LONGEST_LINE)
    start, newline = log.rfind(b"\n", near, at) + 1, log.find(b"\n", at, at + _LONGEST_LINE)
    if (not start and near) or (newline < 0 and len(log) > at + _LONGEST_LINE):
        return False
    shown = displayed(log[start : newline if newline >= 0 else len(log)]).strip()
    return not shown or shown in _CLOSES or _GITLAB.fullmatch(shown) is not None


def _line_starts(log: Log, needle: bytes, start: int, end: int) -> Iterator[int]:
    if log[start : start + len(needle)] == needle:
        yield start
    at = log.find(b"\n" + needle, start, end)
    while at >= 0:
        yield at + 1
        at = log.find(b"\n" + needle, at + 1, end)


def _is_diff(log: Log, needle: bytes, at: int, end: int) -> bool:
    """Whether this is a file name of a diff: `--- a` right above `+++ b`."""
    if needle == b"--- ":
        newline = log.find(b"\n", at, end)
        return newline >= 0 and log[newline + 1 : newline + 5] == b"+++ "
    if needle == b"+++ ":
        before = log.rfind(b"\n", 0, max(at - 1, 0)) + 1
        return log[before : before + 4] == b"--- "
    return False


def _title(log: Log, at: int, end: int) -> str:
    newline = log.find(b"\n", at, min(end, at + _LONGEST_LINE))
    line = log[at : newline if newline >= 0 else min(end, at + _LONGEST_LINE)]
    return displayed(line).decode("utf-8", "replace").strip()[:200]


# The first error


def telling(log: Log, start: int, end: int) -> dict[str, int] | None:
    """The first line between two offsets that tells of an error; None where none does."""
    offset = telling_line(log, start, end)
    return None if offset is None else {"line": _count(log, 0, offset), "offset": offset}


# Difference


def difference(one: Log, other: Log, one_goes_on: bool, other_goes_on: bool) -> dict[str, Any] | None:
    """Where two logs first differ (see `difference.Difference`); None where they say the same."""
    compare: Any = importlib.import_module("rapidflow_web.logs.difference")
    found = compare.first_difference(one[:], other[:], one_goes_on=one_goes_on, other_goes_on=other_goes_on)
    names = "line", "one", "other", "at_one", "at_other"
    return None if found is None else {name: getattr(found, name) for name in names}


def _limit(seconds: int, size: int) -> None:
    """Bounds what this process takes, so that no log and no pattern takes it from others."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (size + _MOST_MEMORY, size + _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _mapped(path: str, size: int) -> Log:
    if not size:
        return b""
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes as long to import as all else
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)


def main() -> None:
    """Answers one request."""
    request: dict[str, Any] = json.load(sys.stdin)
    # Who asks ends this process earlier, unless it was killed itself.
    signal.alarm(request["seconds"])
    sizes = [int(size) for size in sys.argv[2::2]]
    _limit(request["seconds"], sum(sizes))
    if "packages" in request:
        sys.path.append(request["packages"])
    logs: list[Any] = [_mapped(path, size) for path, size in zip(sys.argv[1::2], sizes, strict=True)]
    try:
        if "search" in request:
            answer = search(logs[0], **request["search"])
        elif "telling_line" in request:
            answer = telling(logs[0], **request["telling_line"])
        elif "difference" in request:
            answer = difference(*logs, **request["difference"])
        else:
            answer = outline(logs[0], **request["outline"])
    except BadPattern as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
