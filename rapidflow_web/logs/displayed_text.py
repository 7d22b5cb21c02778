"""What a reader sees of printed lines, exactly as the log viewer shows them (`static/js/log/terminal.js`).

Escape sequences are not seen, other control characters as their pictures; what is written over, erased or
moved within a line is as a terminal has it. Imports nothing of ours, for `scan.py`.

Takes time in the length of the lines, whatever is in them, and memory for one of them.
"""

from __future__ import annotations

import re

# A control sequence, an operating system command, another escape; none goes beyond its line.
_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")

_OBEYED = b"\r\b\x07\x1b"
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n"})
_PICTURES = {
    bytes([code]): b"" if code in _OBEYED else chr(0x2421 if code == 0x7F else 0x2400 + code).encode()
    for code in _CONTROLS
}
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_REWRITES = re.compile(rb"\r[^\r\n]|\x08|\x1b\[[0-?]*[ -/]*[KGCD]")
_MOVES = re.compile(rb"\x08|\x1b\[[0-?]*[ -/]*[KGCD]")
_PARTS = re.compile(
    r"\x1b\[([0-?]*)[ -/]*[@-~]|\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f\x7f]"
)

_FURTHEST = 1000
"""Columns that a cursor moves to; a terminal is hardly as wide."""
_MOST = 1 << 20
"""Columns that there are; an ellipsis is in the last one of a line that has more."""
_CELL = 4
"""Bytes of a character in a line."""
_ENCODING = "utf-32-le"
_SPACE = " ".encode(_ENCODING)


def displayed(block: bytes) -> bytes:
    """What a reader sees of whole lines."""
    if len(block.translate(None, _CONTROLS)) == len(block):
        return block
    if not block.isascii():
        # A character that a sequence divides is none.
        block = block.decode("utf-8", "replace").encode()
    if not _REWRITES.search(block):
        return _plain(block)
    return b"\n".join(map(_line, block.split(b"\n")))


def _plain(text: bytes) -> bytes:
    return _pictured(_ESCAPE.sub(b"", text))


def _pictured(text: bytes) -> bytes:
    return _CONTROL.sub(lambda control: _PICTURES[control[0]], text)


def _line(line: bytes) -> bytes:
    if not _REWRITES.search(line):
        return _plain(line)
    if not _MOVES.search(line):
        # As progress bars are: each has the length of the one before, or is longer.
        parts = _ESCAPE.sub(b"", line).rstrip(b"\r").split(b"\r")
        *before, last = (_pictured(part).decode() for part in parts)
        if len(last) <= _MOST and all(len(part) <= len(last) for part in before):
            return last.encode()
    return _written(line.decode())


def _written(text: str) -> bytes:
    """What a terminal shows of one line. All in one loop, because it runs for each byte of hostile ones."""
    characters = text.encode(_ENCODING)
    cells = bytearray()
    column, begin = 0, 0
    blank, length = _MOST, 0  # the cells before `blank` are; those from `length` on are blank, and not shown
    for part in _PARTS.finditer(text):
        start, end = part.span()
        if start > begin:
            blank = min(blank, column)
            column = _write(cells, column, characters[begin * _CELL : start * _CELL])
            length = max(length, column)
        begin = end
        final = text[end - 1]
        if end - start == 1:
            if final == "\b":
                column -= column > 0
            elif final == "\r":
                column = 0
            elif picture := _PICTURES[final.encode()]:
                blank = min(blank, column)
                column = _write(cells, column, picture.decode().encode(_ENCODING))
                length = max(length, column)
        elif final in "KGCD" and part[1] is not None:
            count = _count(part[1])
            if final == "G":
                column = min(max(0, count - 1), _FURTHEST)
            elif final == "C":
                column = min(column + max(1, count), max(column, _FURTHEST))
            elif final == "D":
                column = max(0, column - max(1, count))
            elif count == 1:
                # Up to the cursor; what is blank already costs nothing.
                until = min(column + 1, length)
                if until > blank:
                    cells[blank * _CELL : until * _CELL] = _SPACE * (until - blank)
                    blank = until
            elif count == 2:
                if length > blank:
                    cells[blank * _CELL : length * _CELL] = _SPACE * (length - blank)
                blank, length = _MOST, 0
            else:
                del cells[column * _CELL :]
                length = min(length, column)
    if begin < len(text):
        length = max(length, _write(cells, column, characters[begin * _CELL :]))
    return cells[: length * _CELL].decode(_ENCODING).encode()


def _write(cells: bytearray, column: int, characters: bytes) -> int:
    """Writes into a line from a column on; returns the one that follows."""
    at, most = column * _CELL, _MOST * _CELL
    if at > len(cells):
        cells += _SPACE * (column - len(cells) // _CELL)
    end = at + len(characters)
    if end <= most:
        cells[at:end] = characters
        return end // _CELL
    cells[at:most] = characters[: most - at]
    if len(cells) == most:
        cells[-_CELL:] = "…".encode(_ENCODING)
    return _MOST


def _count(parameters: str) -> int:
    first = parameters.partition(";")[0].lstrip("0")
    if not first.isdigit():
        return 0
    return int(first) if len(first) < 10 else _MOST
