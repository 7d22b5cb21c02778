"""Finds secrets in output: all of them, also those that overlap, and what may be the beginning of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

_BEGINNING = 16
"""Bytes of each form that are looked for. What begins like that is compared as a whole."""
_MOST_FOR_DFA = 1000
"""Beginnings for which the fastest automaton is made; with more it takes long to make and much memory."""
_SIEVE = 48
"""Beginnings up to which an automaton looks for the first of them 64 bytes at a time, not byte by byte."""
_MOST_SIEVED = 600
_WINDOW = 64 * 1024
"""Bytes that are searched at once: what is found there has to fit into memory, be it at every byte."""
_SHORT_CHAIN = 512

Span = tuple[int, int]


class SecretSearch:
    """Searches for `forms`, each of at least a byte.

    Where forms overlap they are one span, a chain. A chain that becomes very long, which only secrets like
    "aaaaaa" can bring about, ends with the form that reaches furthest; what comes after it is searched anew.
    """

    def __init__(self, forms: Collection[bytes]) -> None:
        by_beginning: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for form in sorted(forms, key=len, reverse=True):
            by_beginning[form[:_BEGINNING]].append(form)
        self._forms = list(by_beginning.values())
        """By their beginning; the longest first."""
        implementation = Implementation.DFA if len(by_beginning) <= _MOST_FOR_DFA else None
        self._automaton = BytesAhoCorasick(by_beginning, implementation=implementation)
        sieved = list(by_beginning) if len(by_beginning) <= _MOST_SIEVED else []
        self._sieves = [
            BytesAhoCorasick(sieved[at : at + _SIEVE], MatchKind.LeftmostFirst)
            for at in range(0, len(sieved), _SIEVE)
        ]
        """Each tells whether there are any of some beginnings, which mostly there are not."""
        self._partial = {start[:size] for start in by_beginning for size in range(1, len(start))}
        self._last_bytes = {start[-1] for start in self._partial}
        self._longest_chain = _SHORT_CHAIN + 4 * max(map(len, forms), default=0)

    def spans(self, data: bytes, at_end: bool = False) -> tuple[list[Span], int]:
        """Where secrets stand in `data`, in order, and from where on it may be the beginning of another.

        Unless it is `at_end`, all spans end before that: where another one may follow upon a span, more data
        must tell how far that reaches.
        """
        spans: list[Span] = []
        if not self._forms:
            return spans, len(data)
        floor, unsure = 0, self._unsure(data, 0)
        for start, number in self._candidates(data):
            if start >= unsure and not at_end:
                break
            if start < floor:
                continue
            end, is_unsure = self._end(data, start, number)
            if is_unsure:
                unsure = min(start, unsure)
                if not at_end:
                    break
            if not spans or start >= spans[-1][1]:
                if end:
                    spans.append((start, end))
            elif end > spans[-1][1]:
                begin, reached = spans[-1]
                if reached - begin < self._longest_chain:
                    spans[-1] = begin, end
                else:
                    floor = reached
                    if unsure < floor and not at_end:
                        unsure = self._unsure(data, floor)
        while not at_end and spans and spans[-1][1] > unsure:
            unsure = min(unsure, spans.pop()[0])
        return spans, unsure

    def _candidates(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Where in `data` a beginning stands whole, in order, and the number of that beginning."""
        size = len(data)
        for window in range(0, size, _WINDOW):
            part = data if size <= _WINDOW else data[window : window + _WINDOW + _BEGINNING - 1]
            if self._sieves and not any(sieve.find_matches_as_indexes(part) for sieve in self._sieves):
                continue
            found = self._automaton.find_matches_as_indexes(part, overlapping=True)
            for start, number in sorted([(start, number) for number, start, _ in found]):
                if start < _WINDOW:
                    yield window + start, number

    def _end(self, data: bytes, start: int, number: int) -> tuple[int, bool]:
        """Where the longest form at `start` ends, or 0; and whether a longer one may turn out to be there."""
        left, is_unsure = len(data) - start, False
        for form in self._forms[number]:
            if len(form) > left:
                is_unsure = is_unsure or form.startswith(data[start:])
            elif data.startswith(form, start):
                return start + len(form), is_unsure
        return 0, is_unsure

    def _unsure(self, data: bytes, floor: int) -> int:
        """From where on, but not before `floor`, `data` is part of a beginning."""
        size = len(data)
        if size and data[-1] in self._last_bytes:
            for start in range(max(floor, size - _BEGINNING + 1), size):
                if data[start:] in self._partial:
                    return start
        return size
