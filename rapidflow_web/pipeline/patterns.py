"""File and branch patterns: `*` stops at `/`, `**` does not, `!` takes out, the last one that fits counts.

They come from untrusted repositories, as does what they are compared with. So they become expressions of RE2,
which takes linear time whatever they are, and everything that is compared has a bound.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rapidflow_web.pipeline.suggestions import printable, short

MAX_PATTERNS = 50
"""In one list."""
MAX_PATTERN = 200
"""Characters."""
MOST_WORK = 100_000_000
"""Characters of all patterns of a list, times those of all values. The worst ones take a few seconds."""

_SHOWN = 10


def check_pattern(text: str) -> str:
    """The pattern, if it is one. Raises ValueError with a sentence that says what to write instead."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"the pattern has {len(text)} characters; at most {MAX_PATTERN} are taken")
    if not text.removeprefix("!"):
        raise ValueError("a pattern must not be empty; '**' fits everything")
    if not text.isprintable():
        raise ValueError(f"the pattern '{shown(text)}' has a character that can't be seen")
    expression(text)
    return text


@dataclass(frozen=True, slots=True)
class Patterns:
    """A list of valid patterns, as they were written."""

    texts: tuple[str, ...]

    def fit(self, value: str) -> bool:
        """Whether a value fits: the last pattern that matches it does not take it out."""
        value = value.encode("utf-8", "replace").decode()
        for text in reversed(self.texts):
            if _compiled(text).fullmatch(value) is not None:
                return not text.startswith("!")
        return False

    def fit_any(self, values: Iterable[str]) -> bool:
        """Whether one of the values fits; also where there are too many to compare (see `MOST_WORK`)."""
        per_character, work = sum(map(len, self.texts)), 0
        for value in values:
            work += per_character * len(value)
            if work > MOST_WORK or self.fit(value):
                return True
        return False

    def __str__(self) -> str:
        """As part of a sentence."""
        more = len(self.texts) - _SHOWN
        items = [*self.texts[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        return f"[{', '.join(items)}]"


def shown(value: str) -> str:
    """A value from a repository as part of a sentence: one line of bounded length that moves no cursor."""
    return printable(short(value))


@functools.lru_cache(maxsize=4096)
def _compiled(text: str) -> Any:
    # Late, because it takes a while and few need it.
    re2: Any = importlib.import_module("re2")
    options = re2.Options()
    options.dot_nl = True
    options.never_capture = True
    options.log_errors = False
    return re2.compile(expression(text), options)


def expression(text: str) -> str:
    """The regular expression for a pattern, without its `!`. Raises ValueError."""
    text = text.removeprefix("!")
    parts: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "*":
            begin = position - 1
            while text[position : position + 1] == "*":
                position += 1
            if position - begin == 1:
                parts.append("[^/]*")
            elif text[begin - 1 : begin] in ("", "/") and text[position : position + 1] == "/":
                position += 1  # `**/`: any number of folders, also none
                parts.append("(?:.*/)?")
            else:
                parts.append(".*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            part, position = _class(text, position)
            parts.append(part)
        elif character == "{":
            raise ValueError("braces mean nothing here; write a pattern for each, or '\\{' for a brace")
        elif character == "\\":
            if position == len(text):
                raise ValueError("a pattern can't end in '\\'; write '\\\\' for the character")
            parts.append(_literal(text[position]))
            position += 1
        else:
            parts.append(_literal(character))
    return "".join(parts)


def _class(text: str, position: int) -> tuple[str, int]:
    """The expression for the character class that begins before `position`, and where it ends."""
    negated = text[position : position + 1] in ("!", "^")
    begin = position = position + negated
    # No class fits the slash.
    items = ["/"] if negated else []
    while text[position : position + 1] != "]" or position == begin:
        if text.startswith("[:", position):
            raise ValueError("a character class has no names like '[:alpha:]' here; write a-zA-Z")
        low, position = _member(text, position)
        high = low
        if text[position : position + 1] == "-" and text[position + 1 : position + 2] not in ("", "]"):
            high, position = _member(text, position + 1)
            if high < low:
                raise ValueError(f"the range '{low}-{high}' in a character class is empty")
        if low < "/" < high:
            items += [f"{_literal(low)}-.", f"0-{_literal(high)}"]
        elif "/" in (low, high):
            raise ValueError("a character class can't have '/', which only '**' passes over")
        else:
            items.append(f"{_literal(low)}-{_literal(high)}")
    return f"[{'^' * negated}{''.join(items)}]", position + 1


def _member(text: str, position: int) -> tuple[str, int]:
    """A character of a class, which a backslash may be before, and where the next one is."""
    position += text[position : position + 1] == "\\"
    if position >= len(text):
        raise ValueError("a '[' is not closed by ']'; write '\\[' for the character")
    return text[position], position + 1


def _literal(character: str) -> str:
    return character if character.isalnum() or character in "_/" else f"\\x{{{ord(character):x}}}"
