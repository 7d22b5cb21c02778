"""What a reader sees of printed lines, exactly as the log viewer shows them (`static/js/log/terminal.js`).

Escape sequences and control characters are not seen; what is written over, erased or moved within a line is
as a terminal has it (`terminal_line.py`). Imports little, for `scan.py`.

Takes time in the length of the lines, whatever is in them, and memory for one of them.
"""

from __future__ import annotations

import re

from rapidflow_web.logs.character_widths import WIDTHS
from rapidflow_web.logs.terminal_line import MOST, MOST_MARKS, written

# A control sequence, whose final is missing where something ends it before; an operating system command;
# other strings, of which nothing is shown; another escape; a control character. None goes beyond its line.
_SEQUENCE = re.compile(
    rb"\x1b\[[\x00-\x09\x0b-\x17\x19\x1c-\x3f\x7f]*[@-~]?|\x1b\][^\x07\x18\x1a\x1b\n]*\x07?"
    rb"|\x1b[PX^_][^\x18\x1a\x1b\n]*|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]"
)
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n"})
_LATE_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")
_REWRITES = re.compile(
    rb"\r[^\r\n]|\x08|\x1b(?:\[[\x00-\x09\x0b-\x17\x19\x1c-\x3f\x7f]*[@C-KPXZ`abfsu]|[78cE]|[()]0)"
)
_MOVES = re.compile(rb"\x08|\t|\x1b(?:\[[\x00-\x09\x0b-\x17\x19\x1c-\x3f\x7f]*[@C-KPXZ`abfsu]|[78cE]|[()]0)")
_BEYOND_LATIN = re.compile("[\u0300-\U0010ffff]+")
_FEW = MOST_MARKS // 2 - 2
"""Characters among which there are never too many marks."""
ANNOTATION = re.compile(
    rb"^(?:::(error|warning|notice)(?: [^\n]*?)?::|##\[(error|warning|notice)\])",
    re.MULTILINE | re.IGNORECASE,
)
"""What GitHub Actions takes from the beginning of a line that it shows as an error, a warning or a notice."""


def announced(block: bytes) -> bytes:
    """Whole lines, those that GitHub Actions would show as errors, warnings and notices as it does."""
    if b"::" not in block and b"##[" not in block:
        return block
    return ANNOTATION.sub(lambda found: (found[1] or found[2]).capitalize() + b": ", block)


def displayed(block: bytes) -> bytes:
    """What a reader sees of whole lines."""
    ascii_only = block.isascii()
    if len(block) <= MOST and len(block.translate(None, _CONTROLS)) == len(block):
        return block if ascii_only else _with_few_marks(_LATE_CONTROL.sub(b"", block))
    if not ascii_only:
        # A character that a sequence divides is none.
        block = block.decode("utf-8", "replace").encode()
    if len(block) <= MOST and not _REWRITES.search(block):
        block = _SEQUENCE.sub(b"", block)
        return block if ascii_only else _with_few_marks(block)
    return b"\n".join(map(_line, block.split(b"\n")))


def _line(line: bytes) -> bytes:
    long = len(line) > MOST and len(line.decode().encode("utf-16-le")) // 2 > MOST
    if not long and not _REWRITES.search(line):
        line = _SEQUENCE.sub(b"", line)
        return line if line.isascii() else _with_few_marks(line)
    if line.isascii() and not _MOVES.search(line):
        # As progress bars are: each has the length of the one before, or is longer.
        *before, last = (part for part in _SEQUENCE.sub(_kept, line).rstrip(b"\r").split(b"\r"))
        if len(last) <= MOST and all(len(part) <= len(last) for part in before):
            return last
    return written(line.decode()).encode()


def _kept(sequence: re.Match[bytes]) -> bytes:
    """The carriage returns in a sequence."""
    return b"\r" * sequence[0].count(b"\r")


def _with_few_marks(block: bytes) -> bytes:
    """No character has more marks than a cell of a terminal, however many were printed."""
    text = block.decode("utf-8", "surrogateescape")
    return _BEYOND_LATIN.sub(_marked, text).encode("utf-8", "surrogateescape")


def _marked(run: re.Match[str]) -> str:
    text = run[0]
    if len(text) <= _FEW:
        return text
    kept: list[str] = []
    units = int(run.start() > 0 and run.string[run.start() - 1] != "\n")
    for character in text:
        size = 1 + (character > "\uffff")
        if WIDTHS[character]:
            units = 0
        elif units + size > MOST_MARKS:
            continue
        units += size
        kept.append(character)
    return "".join(kept)
