"""One line of a terminal: cells that can be written over, as `static/js/log/line.js` has them in the browser.

What moves the cursor to other lines leaves it in this one. Takes time in the length of the line, whatever is
in it.
"""

from __future__ import annotations

import re

from rapidflow_web.logs.character_widths import WIDTHS

_PART = re.compile(
    r"\x1b\[([\x00-\x17\x19\x1c-\x3f\x7f]*)([@-~]?)|\x1b\][^\x07\x18\x1a\x1b]*\x07?|\x1b[PX^_][^\x18\x1a\x1b]*"
    r"|\x1b([ -/]*)([0-~]?)|[\x00-\x1f\x7f-\x9f]"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PARAMETERS = re.compile(r"\??[0-9:;]*\Z")

FURTHEST = 1000
"""Columns that a cursor moves to; a terminal is hardly as wide."""
MOST = 1 << 20
"""Columns that there are; an ellipsis is in the last one of a line that has more."""
MOST_MARKS = 250
"""UTF-16 units of a cell, most of them marks on its character."""
_FREE = 256
_MOST_BEYOND = 1 << 16
"""Cells that the sequences of a line may erase, move or repeat in all, beyond so many free ones each. Those
that would go beyond that do nothing, so that a short line does not take long."""
_TAB = 8
_DRAWN = dict(zip(range(0x60, 0x7F), "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·", strict=True))


def written(text: str) -> str:
    """What a terminal shows of one line."""
    line = _Line()
    at = 0
    for part in _PART.finditer(text):
        start, end = part.span()
        if start > at:
            line.write(text[at:start])
        at = end
        if end - start == 1 and text[start] != "\x1b":
            line.control(text[start])
        elif part[1] is not None:
            body = part[1]
            if not body.isdecimal():
                for control in _CONTROL.findall(body):
                    line.control(control)
                body = _CONTROL.sub("", body)
            if part[2] and (not body or _PARAMETERS.match(body)):
                line.move(part[2], body)
        elif part[4]:
            line.escape(part[3], part[4])
    if at < len(text):
        line.write(text[at:])
    return line.lead + "".join(line.cells[: line.length])


class _Line:
    def __init__(self) -> None:
        self.lead = ""  # marks before the first cell
        self.cells: list[str] = []  # characters with their marks; "" is the second half of a wide one
        self.length: int = 0  # the cells from here on are blank, and not shown
        self.column: int = 0
        self.blank: int = MOST  # the cells before this one are, and so are those from `length` on
        self.saved = 0
        self.drawn = [False, False]  # whether the sets of characters G0 and G1 are those of lines
        self.set = 0
        self.left = _MOST_BEYOND
        self.full = False  # whether an ellipsis is in the last column, for all that follows

    def write(self, text: str) -> None:
        self._write(text.translate(_DRAWN) if self.drawn[self.set] else text)

    def _write(self, text: str) -> None:
        if self._is_beyond():
            return
        if text.isascii():
            self._put(list(text), len(text))
            return
        run: list[str] = []
        for character in text:
            if width := WIDTHS[character]:
                run.append(character)
                if width == 2:
                    run.append("")
            else:
                self._put(run, len(run))
                if self._is_beyond():
                    return
                run = []
                self._mark(character)
        self._put(run, len(run))

    def _is_beyond(self) -> bool:
        return self.full and self.column >= MOST

    def _put(self, run: list[str], count: int) -> None:
        if not count:
            return
        cells, column = self.cells, self.column
        if len(cells) < column:
            cells += [" "] * (column - len(cells))
        end = column + count
        if end > MOST:
            count = MOST - column
            whole = count if run[count] else count - 1  # a wide character does not fit by half
            self._put(run[: max(0, whole)], max(0, whole))
            cells += [" "] * (MOST - len(cells))
            self._cut(MOST - 1)
            cells[MOST - 1] = "…"
            self.blank, self.length, self.column = min(self.blank, MOST - 1), MOST, MOST
            self.full = True
            return
        self.blank = min(self.blank, column)
        self._cut(column)
        self._cut(end)
        cells[column:end] = run
        self.column = end
        self.length = max(self.length, end)
        if end == MOST:
            self.full = False

    def _cut(self, column: int) -> None:
        """A wide character of which one half is written over is gone."""
        if column < len(self.cells) and self.cells[column] == "":
            self.cells[column - 1 : column + 1] = [" ", " "]

    def _mark(self, character: str) -> None:
        at = min(self.column, self.length) - 1
        if at >= 0 and self.cells[at] == "":
            at -= 1
        if at < 0:
            self.lead = _marked(self.lead, character)
        else:
            self.cells[at] = _marked(self.cells[at], character)

    def control(self, control: str) -> None:
        if control == "\r":
            self.column = 0
        elif control == "\b":
            self.column -= self.column > 0
        elif control == "\t":
            self._tab(1)
        elif control in "\x0e\x0f":
            self.set = int(control == "\x0e")

    def _tab(self, count: int) -> None:
        most = MOST if count == 1 else max(self.column, FURTHEST)
        self.column = min((self.column // _TAB + count) * _TAB, most)

    def escape(self, between: str, kind: str) -> None:
        if between in ("(", ")"):
            self.drawn["()".index(between)] = kind == "0"
        elif between:
            return
        elif kind == "7":
            self.saved = min(self.column, FURTHEST)
        elif kind == "8":
            self.column = self.saved
        elif kind == "E":
            self.column = 0
        elif kind == "c":
            self._erase(2)
            self.lead, self.column, self.drawn = "", 0, [False, False]

    def move(self, final: str, parameters: str) -> None:
        if final in "JK":
            self._erase(_number(parameters.removeprefix("?"), 0))
            return
        if final in "su" and not parameters:
            self.escape("", "7" if final == "s" else "8")
        if final not in "@CDEFGHIPXZ`abf" or parameters.startswith("?"):
            return
        wanted = _number(parameters, 0)
        count = min(max(1, wanted), FURTHEST)
        column = self.column
        if final in "Ca":
            self.column = min(column + count, max(column, FURTHEST))
        elif final == "D":
            self.column = max(0, column - max(1, wanted))
        elif final in "EF":
            self.column = 0
        elif final in "G`":
            self.column = count - 1
        elif final in "Hf":
            self.column = min(max(1, _number(parameters, 1)), FURTHEST) - 1
        elif final == "I":
            self._tab(count)
        elif final == "Z":
            self.column = max(0, (-(-column // _TAB) - count) * _TAB)
        elif final == "X":
            self._fill(column, min(column + count, self.length))
        elif final == "b":
            self._repeat(count)
        else:
            self._shift(final == "@", count)

    def _erase(self, mode: int) -> None:
        """Erases from the cursor on, with 1 up to it, with 2 all; what is blank already costs nothing."""
        if mode == 0 or mode == 2:
            start = 0 if mode == 2 else self.column
            if not self._fill(max(start, self.blank), self.length):
                return
            self.length = min(start, self.length)
            if mode == 2:
                self.blank = MOST
        elif mode == 1:
            until = min(self.column + 1, self.length)
            if self._fill(min(self.blank, until), until):
                self.blank = max(self.blank, until)

    def _fill(self, start: int, end: int) -> bool:
        """Blanks cells; False where the line has no more of them left."""
        # What is wider than a cursor moves was written first.
        if start < end:
            if not self._may(min(end - start, FURTHEST)):
                return False
            self._cut(start)
            self._cut(end)
            self.cells[start:end] = [" "] * (end - start)
        return True

    def _may(self, cells: int) -> bool:
        self.left -= max(0, cells - _FREE)
        return self.left >= 0

    def _shift(self, inserts: bool, count: int) -> None:
        """Makes room in a line that is no longer than a terminal, or takes cells out of it."""
        cells, column = self.cells, self.column
        if column >= self.length or len(cells) > FURTHEST or not self._may(count + self.length - column):
            return
        self._cut(column)
        if inserts:
            cells[column:column] = [" "] * count
            self._cut(FURTHEST)
            del cells[FURTHEST:]
            self.length = min(self.length + count, FURTHEST)
        else:
            self._cut(column + count)
            del cells[column : column + count]
            self.length = max(column, self.length - count)

    def _repeat(self, count: int) -> None:
        before = self.cells[max(0, self.column - 2) : min(self.column, self.length)]
        last = next((cell for cell in before[::-1] if cell), "")
        count = min(count, FURTHEST - self.column)
        if last and count > 0 and self._may(count):
            self._write(last[0] * count)  # without its marks, which may be many


def _marked(cell: str, mark: str) -> str:
    return cell + mark if _units(cell) + _units(mark) <= MOST_MARKS else cell


def _units(text: str) -> int:
    """Units of UTF-16, in which browsers count."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _number(parameters: str, place: int) -> int:
    """One of the numbers; 0 where it is not there. Browsers read those with colons as none."""
    numbers = parameters.split(";", 2)
    number = numbers[place].lstrip("0") if place < len(numbers) else ""
    if not number.isdecimal():
        return 0
    return int(number) if len(number) < 10 else MOST
