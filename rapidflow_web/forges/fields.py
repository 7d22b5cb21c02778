"""Values of a delivery's JSON, each checked before it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar, cast, get_origin

from rapidflow_web.forges.shapes import Unreadable
from rapidflow_web.pipeline.repositories import COMMIT_ID

_MOST_ITEMS = 1_000
_LONGEST_NAME = 1_000
_LONGEST_WORDS = 255
_LONGEST_NUMBER = 2**63 - 1
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_ZEROS = re.compile(r"0+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# What `git check-ref-format` refuses.
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|//|@\{|/\.|\.lock(?:/|$)|[/.]$")
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}
_Kind = TypeVar("_Kind", dict[str, object], list[object], str, bool)


def is_ref(name: str) -> bool:
    """Whether git can have a ref of this full name."""
    return name.startswith("refs/") and _BAD_IN_REF.search(name) is None


@dataclass(frozen=True, slots=True)
class Field:
    """A value and where it stands. What is missing is like null. All methods raise `Unreadable`."""

    value: object
    path: str = ""

    def __getitem__(self, key: str) -> Field:
        """A field of this object; null where this is null."""
        path = f"{self.path}.{key}" if self.path else key
        if self.value is None:
            return Field(None, path)
        return Field(self._typed(dict[str, object]).get(key), path)

    def __bool__(self) -> bool:
        return self.value is not None

    def items(self) -> Iterator[Field]:
        """The items of this list; none where this is null."""
        values = self._typed(list[object]) if self else []
        if len(values) > _MOST_ITEMS:
            raise Unreadable(f"the field '{self.path}' has more than {_MOST_ITEMS:,} items")
        for number, value in enumerate(values):
            yield Field(value, f"{self.path}[{number}]")

    def text(self) -> str:
        """Text without control characters."""
        text = self._typed(str)
        if len(text) > _LONGEST_NAME:
            raise Unreadable(f"the field '{self.path}' has more than {_LONGEST_NAME:,} characters")
        if _CONTROLS.search(text):
            raise Unreadable(f"the field '{self.path}' has control characters")
        return text

    def text_or_none(self) -> str | None:
        """The same, or None."""
        return (self.text() or None) if self else None

    def words(self) -> str:
        """The first line of text that people wrote, shortened; empty where this is null."""
        if not self:
            return ""
        start = self._typed(str)[: 4 * _LONGEST_WORDS].strip()
        line = _CONTROLS.sub("\ufffd", start.splitlines()[0]) if start else ""
        return line if len(line) <= _LONGEST_WORDS else line[: _LONGEST_WORDS - 1] + "…"

    def flag(self) -> bool:
        """True or false; null is false."""
        return self._typed(bool) if self else False

    def number(self) -> int:
        """A whole number that is not negative."""
        number = self.value
        if isinstance(number, bool) or not isinstance(number, int):
            raise self._wrong("a whole number")
        if not 0 <= number <= _LONGEST_NUMBER:
            raise Unreadable(f"the number in the field '{self.path}' is out of range")
        return number

    def identity(self) -> object:
        """What identifies something: a number or text. None where this is null."""
        if self.value is None:
            return None
        return self.text() if isinstance(self.value, str) else self.number()

    def commit(self) -> str | None:
        """The id of a commit or tag. None where this is null or zeros."""
        return self._hash(COMMIT_ID, "the id of a commit: 40 or 64 hexadecimal digits")

    def short_commit(self) -> str | None:
        """The same, or only its beginning."""
        return self._hash(_SHORT_COMMIT, "the id of a commit")

    def ref(self) -> str:
        """The full name of a ref that git can have."""
        return self._checked_ref(self.text())

    def branch(self) -> str:
        """The name of a branch that git can have."""
        return self.ref_below("refs/heads/").removeprefix("refs/heads/")

    def ref_below(self, prefix: str) -> str:
        """The full name of a ref that is given in full or, below `prefix`, in short."""
        name = self.text()
        return self._checked_ref(name if name.startswith("refs/") else prefix + name)

    def _checked_ref(self, ref: str) -> str:
        if not is_ref(ref):
            raise Unreadable(f"the field '{self.path}' is not the name of a branch or tag: {ref[:100]!r}")
        return ref

    def _hash(self, pattern: re.Pattern[str], expected: str) -> str | None:
        text = self.text() if self else ""
        if not text or _ZEROS.fullmatch(text):
            return None
        if not pattern.fullmatch(text):
            raise Unreadable(f"the field '{self.path}' is not {expected}")
        return text

    def _typed(self, kind: type[_Kind]) -> _Kind:
        if not isinstance(self.value, get_origin(kind) or kind):
            raise self._wrong(_KINDS[get_origin(kind) or kind])
        return cast(_Kind, self.value)

    def _wrong(self, expected: str) -> Unreadable:
        where = f"the field '{self.path}'" if self.path else "the body"
        if self.value is None:
            return Unreadable(f"{where} is missing")
        return Unreadable(f"{where} must be {expected}, not {_KINDS[type(self.value)]}")
