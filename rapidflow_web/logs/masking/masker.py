"""Masks secrets in the output of a build, before anything of it is stored or shown.

A step may add to them: a line `::add-mask::VALUE` masks the value from there on, in that line, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from rapidflow_web.errors import BuildError
from rapidflow_web.logs.masking.forms import LEAST_BYTES, decoded, encoded, forms
from rapidflow_web.logs.masking.search import SecretSearch, Span

MASK = b"***"
_COMMAND = b"::add-mask::"
_COMMAND_SEARCH = BytesAhoCorasick([_COMMAND], MatchKind.LeftmostFirst)
_SEARCHED = 16 * 1024
"""Bytes that are searched at once for commands."""
_LONGEST_LINE = 64 * 1024
"""Bytes of a line that adds a mask, with its newline; a longer one is output like any other."""
_MOST_ADDED = 500
_MOST_BYTES_ADDED = 64 * 1024
_LONGEST_ADDED = 8 * 1024
"""Bytes of a value that a step adds: it may print what begins like that at every byte."""
_AT_ONCE = 8 * 1024
"""Bytes with what begins like a secret that are searched before others have their turn."""
_NEWLINE = ord("\n")
_ESCAPE = re.compile("%25|%0D|%0A")
_ESCAPED = {"%25": "%", "%0D": "\r", "%0A": "\n"}


class Piece(NamedTuple):
    """Output that may be stored. `source` is the offset in the agent's output after it."""

    data: bytes
    source: int
    whole: bool = False
    """It stands for a secret, and can't be taken in part."""


@dataclass(frozen=True, slots=True)
class Added:
    """What a step wants masked, too. Whoever gets it stores it before asking for what comes next."""

    values: tuple[str, ...]


class TooManyMasks(BuildError):
    """A step adds masks without end."""


class Masker:
    """Masks what it is fed with: `secrets`, in all their forms (see `forms`), and what steps add.

    What it gives does not depend on how the output is cut into pieces. Nothing is held back but what may
    turn out to be a secret, so at the offset of any piece another masker can go on, if it is told what was
    added up to there. `at_line_start` tells whether there a line begins.
    """

    def __init__(self, secrets: Iterable[str], at_line_start: bool = True) -> None:
        self._secrets: set[str] = set()
        self._search = SecretSearch()
        self._added = self._bytes_added = 0
        self._held = b""
        self._context = 0
        """Bytes of what is held that were already given, when a step ended."""
        self._at_line_start = at_line_start
        """Whether a line begins after the context."""
        self._source = self._position = 0
        """Where what is held ends: in the agent's output, and in that without its markers."""
        self._gaps: list[tuple[int, int]] = []
        """The position of each marker since what is held began, and its bytes."""
        self.mask_also(secrets)

    def feed(self, data: bytes, source: int) -> Iterator[list[Piece] | Added]:
        """Gives what is certain after more output; `source` is the offset after it. Raises `TooManyMasks`.

        An empty list now and then is nothing but a moment for others to have their turn.
        """
        # A line in it may add what the rest of it is full of.
        adds_none = not self._held and not _has_command(data)
        if len(data) <= _AT_ONCE or (adds_none and not self._search.may_find_in(data)):
            yield from self._fed(data, source, adds_none)
            return
        begin = source - len(data)
        for at in range(0, len(data), _AT_ONCE):
            part = data[at : at + _AT_ONCE]
            yield from self._fed(part, begin + at + len(part), adds_none)
            yield []  # others have their turn also where all is held back

    def _fed(self, data: bytes, source: int, adds_none: bool) -> Iterator[list[Piece] | Added]:
        if not self._held:
            self._gaps.clear()
        elif gap := source - len(data) - self._source:
            self._gaps.append((self._position, gap))
        self._source = source
        self._position += len(data)
        # What is held now may have begun in a part before this one, and end in it.
        adds_none = adds_none and not self._held
        return self._masked(self._held + data if self._held else data, at_end=False, adds_none=adds_none)

    def flush(self) -> Iterator[list[Piece] | Added]:
        """Gives what was held, because a step ends. From 6 bytes on the beginning of a secret is masked.

        Should what comes next go on with the secret, its rest is masked, too. There a line begins.
        """
        return self._masked(self._held, at_end=True)

    def mask(self, text: str) -> str:
        """A sentence or the like, with the secrets in it masked."""
        data, masked, position = encoded(text), list[bytes](), 0
        for begin, end in self._search.spans(data, at_end=True)[0]:
            masked += data[position:begin], MASK
            position = end
        return decoded(b"".join((*masked, data[position:])))

    def _masked(self, data: bytes, at_end: bool, adds_none: bool = False) -> Iterator[list[Piece] | Added]:
        begin = line_end = 0
        for line, next_end in () if adds_none else self._lines_that_add(data, at_end):
            # No secret reaches into such a line: from there on more is searched for, and anew.
            spans, _ = self._search.spans(data[begin:line], at_end=True)
            if pieces := self._pieces(data, begin, line, spans):
                yield pieces
            begin, line_end = line, next_end
            if values := self._new_values(data[line + len(_COMMAND) : line_end]):
                self._hold(data, line)
                yield Added(values)
                self.mask_also(values)
        rest = data[begin:] if begin else data
        spans, unsure = self._search.spans(rest, at_end)
        if at_end:
            if len(rest) - unsure >= LEAST_BYTES:
                reached = unsure
                while spans and spans[-1][1] > unsure:
                    reached = min(reached, spans.pop()[0])
                spans.append((reached, len(rest)))
            pieces = self._pieces(data, begin, len(data), spans)
            self._held, self._context, self._at_line_start = rest[unsure:], len(rest) - unsure, True
        else:
            stop = begin + min(unsure, self._open_line(data) - begin)
            while spans and spans[-1][1] > stop - begin:
                stop = min(stop, begin + spans.pop()[0])
            if begin < stop <= line_end:
                # Whoever goes on there has to see that line.
                stop, spans = begin, []
            pieces = self._pieces(data, begin, stop, spans)
            self._hold(data, stop)
        if pieces:
            yield pieces

    def _lines_that_add(self, data: bytes, at_end: bool) -> Iterator[Span]:
        """Where lines stand that are complete and add a mask, without their newline."""
        if not _has_command(data):
            return
        end = 0
        while (line := data.find(_COMMAND, end)) >= 0:
            end = line + len(_COMMAND)
            if not self._begins_line(data, line):
                continue
            newline = data.find(b"\n", end, line + _LONGEST_LINE)
            if newline < 0 and at_end and len(data) - line < _LONGEST_LINE:
                newline = len(data)
            if newline - end >= LEAST_BYTES:
                end = newline
                yield line, newline

    def _begins_line(self, data: bytes, position: int) -> bool:
        if position > self._context:
            return data[position - 1] == _NEWLINE
        return position == self._context and self._at_line_start

    def _open_line(self, data: bytes) -> int:
        """Where the last line begins, if it may become one that adds a mask; else the length of `data`."""
        begin = max(data.rfind(b"\n") + 1, self._context)
        size = len(data) - begin
        if 0 < size < _LONGEST_LINE and _COMMAND.startswith(data[begin : begin + len(_COMMAND)]):
            return begin if self._begins_line(data, begin) else len(data)
        return len(data)

    def _new_values(self, printed: bytes) -> tuple[str, ...]:
        value = decoded(printed).strip()
        unescaped = _ESCAPE.sub(lambda code: _ESCAPED[code[0]], value).strip()
        # As it stands in that line, too.
        values = tuple(
            text for text in dict.fromkeys((unescaped, value)) if text not in self._secrets and forms(text)
        )
        self._added += bool(values)
        self._bytes_added += len(printed) if values else 0
        longest = max(map(len, map(encoded, values)), default=0)
        if longest > _LONGEST_ADDED or self._added > _MOST_ADDED or self._bytes_added > _MOST_BYTES_ADDED:
            self._held = b""
            each, together = _LONGEST_ADDED // 1024, _MOST_BYTES_ADDED // 1024
            raise TooManyMasks(
                f"with ::add-mask:: a build may mask {_MOST_ADDED} values, "
                f"of {each} KiB each and {together} KiB together"
            )
        return values

    def mask_also(self, secrets: Iterable[str]) -> None:
        """Masks these as well, in whatever was not given yet."""
        new = set(secrets) - self._secrets
        if new:
            self._secrets |= new
            self._search.add(set[bytes]().union(*map(forms, new)))

    def _pieces(self, data: bytes, begin: int, stop: int, spans: list[Span]) -> list[Piece]:
        """The output from `begin` to `stop`, without the context; `spans` count from `begin`."""
        position = max(begin, self._context)
        pieces: list[Piece] = []
        for first, last in spans:
            if begin + last > position:
                if begin + first > position:
                    pieces.append(self._piece(data, position, begin + first))
                position = begin + last
                pieces.append(Piece(MASK, self._source_at(data, position), whole=True))
        if stop > position:
            pieces.append(self._piece(data, position, stop))
        return pieces

    def _piece(self, data: bytes, begin: int, end: int) -> Piece:
        part = data if end - begin == len(data) else data[begin:end]
        return Piece(part, self._source_at(data, end))

    def _source_at(self, data: bytes, index: int) -> int:
        left = len(data) - index
        if not self._gaps:
            return self._source - left
        position = self._position - left
        return self._source - left - sum(size for gap, size in self._gaps if gap > position)

    def _hold(self, data: bytes, stop: int) -> None:
        """Keeps what comes after `stop`, or all of it where something of the context is part of that."""
        if stop < self._context:
            self._held = data
            return
        if stop > self._context:
            self._at_line_start = data[stop - 1] == _NEWLINE
        self._held, self._context = data[stop:], 0


def _has_command(data: bytes) -> bool:
    """Whether a line in `data` may add a mask; takes a fifth of the time of `bytes.find`."""
    # In parts, because all matches of one are listed.
    return any(
        _COMMAND_SEARCH.find_matches_as_indexes(data[at : at + _SEARCHED + len(_COMMAND) - 1])
        for at in range(0, len(data), _SEARCHED)
    )
