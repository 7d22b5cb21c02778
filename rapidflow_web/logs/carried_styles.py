"""The colours and attributes with which parts of a log begin: what a terminal carries on from line to line.

`static/js/log/sgr.js` reads the same sequences in the browser. Imports nothing of ours, for `scan.py`.
"""

from __future__ import annotations

import itertools
import mmap
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_SEQUENCE = re.compile(rb"\x1b(c|\[[\x00-\x09\x0b-\x17\x19\x1c-\x3f\x7f]*m)")
_SEQUENCE_OF_LINE = re.compile(rb"\x1b([78c]|\[[\x00-\x09\x0b-\x17\x19\x1c-\x3f\x7f]*[msu])")
_RESTORES = re.compile(rb"\x1b(?:8|\[[\x00-\x09\x0b-\x17\x19\x1c-\x1f\x7f]*u)")
_PARAMETERS = re.compile(rb"[0-9;:]*\Z")
_CONTROLS = bytes([*range(0x20), 0x7F])
_RESETS = (b"\x1b[0m", b"\x1b[m", b"\x1bc")
_MOST_PARAMETERS = 32
_BLOCK = 256 * 1024
_LONGEST = 4096
"""Bytes of a sequence that is read as one."""
_MOST_BYTES = 512 * 1024 * 1024
_MOST_SECONDS = 1.0
_MOST_STEPS = 20_000
"""Steps from style to style that are remembered."""
_LONGEST_KNOWN = 64
"""Bytes of a sequence that is remembered."""
_LARGEST = 255

_SET = {"1": "bold", "2": "dim", "3": "italic", "4": "underline", "5": "blink", "6": "blink",
        "7": "inverse", "8": "conceal", "9": "strike", "21": "underline", "53": "overline"}  # fmt: skip
_UNSET = {"22": ("bold", "dim"), "23": ("italic",), "24": ("underline",), "25": ("blink",),
          "27": ("inverse",), "28": ("conceal",), "29": ("strike",), "39": ("38",), "49": ("48",),
          "55": ("overline",), "59": ("58",)}  # fmt: skip
_COLOURS = ("38", "48", "58")

State = dict[str, str]
"""What is set, each with the parameters that set it."""


@dataclass(slots=True)
class Carried:
    """Where the style changed since the point before, with its parameters, up to the offset `until`."""

    styles: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    until: int = 0


def carried_styles(log: mmap.mmap | bytes, points: list[int]) -> Carried:
    """The styles with which the parts of a log begin that begin at `points`, ascending offsets from 0.

    Known up to an offset before the last point where it takes too long to read them all.
    """
    known = _Styles()
    carried = Carried(until=1)
    style = before = known.plain
    latest = time.monotonic() + _MOST_SECONDS
    for start, end in itertools.pairwise(points):
        for block in _blocks(log, start, end):
            if end > _MOST_BYTES or time.monotonic() > latest:
                return carried
            if b"\x1b" in block:
                style = known.at_end(style, block)
        if style.parameters != before.parameters:
            carried.styles.append((end, style.parameters))
        before, carried.until = style, end + 1
    return carried


def _blocks(log: mmap.mmap | bytes, start: int, end: int) -> Iterator[bytes]:
    """What is between two offsets, in blocks that divide no sequence."""
    while start < end:
        block = log[start : min(start + _BLOCK, end)]
        if start + len(block) < end:
            escape = block.rfind(b"\x1b", -_LONGEST)
            block = block[:escape] if escape > 0 else block
        yield block
        start += len(block)


class _Style:
    """A style, and those that are known to follow it after sequences."""

    __slots__ = ("after", "parameters", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.parameters = ";".join(state.values())
        self.after: dict[bytes, _Style] = {}


class _Styles:
    """The styles of a log: it has few different ones, and few sequences."""

    def __init__(self) -> None:
        self._known: dict[str, _Style] = {}
        self._steps = 0
        self.plain = self._of({})

    def at_end(self, style: _Style, block: bytes) -> _Style:
        """The style after a block that begins with `style`."""
        if _RESTORES.search(block):
            return self._at_end_of_lines(style, block)
        # Nothing before the last reset matters.
        first = max(block.rfind(reset) for reset in _RESETS)
        for sequence in _SEQUENCE.findall(block, max(first, 0)):
            style = style.after.get(sequence) or self._step(style, sequence)
        return style

    def _at_end_of_lines(self, style: _Style, block: bytes) -> _Style:
        """The same where a line may go back to the style that it saved."""
        for line in block.split(b"\n"):
            saved = self.plain
            for sequence in _SEQUENCE_OF_LINE.findall(line):
                if sequence[-1:] in (b"m", b"c"):
                    style = self._step(style, sequence)
                elif sequence == b"7" or sequence.translate(None, _CONTROLS) == b"[s":
                    saved = style
                elif sequence == b"8" or sequence.translate(None, _CONTROLS) == b"[u":
                    style = saved
        return style

    def _step(self, style: _Style, sequence: bytes) -> _Style:
        after = self._of({} if sequence == b"c" else _after(style.state, sequence[1:-1]))
        if self._steps < _MOST_STEPS and len(sequence) <= _LONGEST_KNOWN:
            style.after[sequence] = after
            self._steps += 1
        return after

    def _of(self, state: State) -> _Style:
        style = _Style(state)
        if len(self._known) >= _MOST_STEPS:
            return style
        return self._known.setdefault(style.parameters, style)


def _after(state: State, body: bytes) -> State:
    body = body.translate(None, _CONTROLS)
    if not _PARAMETERS.match(body):
        return state
    state = dict(state)
    groups = body.decode().split(";")[:_MOST_PARAMETERS]
    at = 0
    while at < len(groups):
        group = groups[at]
        code = group.lstrip("0")
        at += 1
        if ":" in group:
            _separated(state, group)
        elif not code:
            state = {}
        elif name := _SET.get(code):
            state[name] = code
        elif code in _UNSET:
            for name in _UNSET[code]:
                state.pop(name, None)
        elif code in _COLOURS:
            kind = groups[at].lstrip("0") if at < len(groups) else ""
            count = {"2": 4, "5": 2}.get(kind, 1)
            numbers = groups[at + 1 : at + count]
            if count > 1 and len(numbers) == count - 1 and all(map(_fits, numbers)):
                state[code] = ";".join([code, kind, *(number or "0" for number in numbers)])
            at += count
        elif len(code) in (2, 3) and code[-1] in "01234567" and code[:-1] in ("3", "4", "9", "10"):
            state["38" if code[:-1] in ("3", "9") else "48"] = code
    return state


def _separated(state: State, group: str) -> None:
    """A group with colons: a kind of underline, or a colour with or without a colour space."""
    code, *more = group.split(":")
    code, kind = code.lstrip("0"), more[0].lstrip("0")
    if code == "4" and kind in ("", *"012345"):
        state["underline"] = f"4:{kind}"
        if not kind:
            del state["underline"]
    elif code in _COLOURS:
        numbers = more[2:] if kind == "2" and len(more) > 4 else more[1:]
        needed = {"2": 3, "5": 1}.get(kind)
        if needed and len(numbers) >= needed and all(map(_fits, numbers)):
            state[code] = ";".join([code, kind, *(number or "0" for number in numbers[:needed])])


def _fits(number: str) -> bool:
    number = number.lstrip("0")
    return not number or (number.isdecimal() and len(number) <= 3 and int(number) <= _LARGEST)
