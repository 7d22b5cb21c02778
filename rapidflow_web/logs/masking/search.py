"""Finds secrets in output: all of them, also those that overlap, and what may be the beginning of one.

Whoever is built chooses what is printed, and some of what is masked; so nothing here takes much longer for
what was made to take long.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

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

    def __init__(self, forms: Collection[bytes] = ()) -> None:
        self._alternatives: dict[bytes, _Alternatives] = {}
        """The forms by their beginning."""
        self._batches: list[_Batch] = []
        self._partial: set[bytes] = set()
        self._last_bytes: set[int] = set()
        self._longest = 0
        self.add(forms)

    def add(self, forms: Iterable[bytes]) -> None:
        """Searches for these, too."""
        by_beginning: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for form in forms:
            by_beginning[form[:_BEGINNING]].add(form)
            self._longest = max(self._longest, len(form))
        new = [beginning for beginning in by_beginning if beginning not in self._alternatives]
        for beginning, found in by_beginning.items():
            known = self._alternatives.get(beginning)
            self._alternatives[beginning] = _Alternatives(found.union(known.forms) if known else found)
        if not new:
            return
        partial = {beginning[:size] for beginning in new for size in range(1, len(beginning))}
        self._partial |= partial
        self._last_bytes |= {start[-1] for start in partial}
        # Each batch is larger than the next: so few are searched with, and seldom is a large one made anew.
        while self._batches and len(self._batches[-1].beginnings) <= len(new):
            new = [*self._batches.pop().beginnings, *new]
        self._batches.append(_Batch(new))

    def spans(self, data: bytes, at_end: bool = False) -> tuple[list[Span], int]:
        """Where secrets stand in `data`, in order, and from where on it may be the beginning of another.

        Unless it is `at_end`, all spans end before that: where another one may follow upon a span, more data
        must tell how far that reaches.
        """
        spans: list[Span] = []
        if not self._batches:
            return spans, len(data)
        longest_chain = _SHORT_CHAIN + 4 * self._longest
        floor, unsure = 0, self._unsure(data, 0)
        for start, beginning in self._candidates(data):
            if start >= unsure and not at_end:
                break
            if start < floor:
                continue
            end, is_unsure = self._alternatives[beginning].end(data, start)
            if is_unsure:
                unsure = min(start, unsure)
                if not at_end:
                    break
            if not spans or start >= spans[-1][1]:
                if end:
                    spans.append((start, end))
            elif end > spans[-1][1]:
                begin, reached = spans[-1]
                if reached - begin < longest_chain:
                    spans[-1] = begin, end
                else:
                    floor = reached
                    if unsure < floor and not at_end:
                        unsure = self._unsure(data, floor)
        while not at_end and spans and spans[-1][1] > unsure:
            unsure = min(unsure, spans.pop()[0])
        return spans, unsure

    def may_find_in(self, data: bytes) -> bool:
        """Whether `data` may have the beginning of a form in it; costs next to nothing where it has none."""
        return any(batch.may_be_in(data) for batch in self._batches)

    def _candidates(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Where in `data` a beginning stands whole, in order, and that beginning."""
        size = len(data)
        for window in range(0, size, _WINDOW):
            part = data if size <= _WINDOW else data[window : window + _WINDOW + _BEGINNING - 1]
            for start, beginning in sorted(found for batch in self._batches for found in batch.found(part)):
                if start < _WINDOW:
                    yield window + start, beginning

    def _unsure(self, data: bytes, floor: int) -> int:
        """From where on, but not before `floor`, `data` is part of a beginning."""
        size = len(data)
        if size and data[-1] in self._last_bytes:
            for start in range(max(floor, size - _BEGINNING + 1), size):
                if data[start:] in self._partial:
                    return start
        return size


class _Batch:
    """Beginnings that are looked for in one pass."""

    def __init__(self, beginnings: list[bytes]) -> None:
        self.beginnings = beginnings
        implementation = Implementation.DFA if len(beginnings) <= _MOST_FOR_DFA else None
        self._automaton = BytesAhoCorasick(beginnings, implementation=implementation)
        sieved = beginnings if len(beginnings) <= _MOST_SIEVED else []
        self._sieves = [
            BytesAhoCorasick(sieved[at : at + _SIEVE], MatchKind.LeftmostFirst)
            for at in range(0, len(sieved), _SIEVE)
        ]
        """Each tells whether there are any of some beginnings, which mostly there are not."""

    def may_be_in(self, data: bytes) -> bool:
        """Whether one of them is in `data`, or there are too many to find that out in no time."""
        return not self._sieves or any(sieve.find_matches_as_indexes(data) for sieve in self._sieves)

    def found(self, data: bytes) -> list[tuple[int, bytes]]:
        """Where in `data` a beginning stands whole, in any order, and that beginning."""
        if not self.may_be_in(data):
            return []
        found = self._automaton.find_matches_as_indexes(data, overlapping=True)
        return [(start, self.beginnings[number]) for number, start, _ in found]


class _Alternatives:
    """The forms that have one beginning, of which there may be thousands."""

    def __init__(self, forms: Collection[bytes]) -> None:
        self.forms = sorted(forms)
        self._longest = max(map(len, forms))
        self._only = self.forms[0] if len(self.forms) == 1 else None
        self._nested: list[list[int]] = []
        """For each form those that it begins with, itself the last: what a text begins with is among those
        of the last form that is sorted before it."""
        for number, form in enumerate(self.forms):
            within = self._nested[-1] if self._nested else []
            self._nested.append([*(one for one in within if form.startswith(self.forms[one])), number])

    def end(self, data: bytes, start: int) -> tuple[int, bool]:
        """Where the longest form at `start` ends, or 0; and whether a longer one may turn out to be there."""
        if self._only is not None and len(data) - start >= self._longest:
            return (start + self._longest if data.startswith(self._only, start) else 0), False
        text = data[start : start + self._longest]
        after = bisect_right(self.forms, text)
        is_unsure = after < len(self.forms) and self.forms[after].startswith(text)
        nested = self._nested[after - 1] if after else []
        # A text that begins with one of these begins with all that are shorter.
        found = bisect_right(nested, False, key=lambda number: not text.startswith(self.forms[number]))
        return (start + len(self.forms[nested[found - 1]]) if found else 0), is_unsure
