"""The conditions of jobs: `if: branch == 'main' && !failure()`.

    condition   any || any, any && any, !any, (any), value == value, value != value, value, function
    value       'text', a name, null
    function    success() failure() always() contains(value, value) starts_with(value, value)

What has no value is null, which equals only null. A value alone is true where it has a value and that is not
the empty text. `success()` is true where every job that is needed succeeded, `failure()` where one did not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rapidflow_web.pipeline.suggestions import did_you_mean, near, short

NAMES = ("branch", "tag", "event", "ref", "target", "pull_request", "pipeline")
"""What is known of a build besides the values of its matrix."""
MAX_LENGTH = 1_000
_MAX_DEPTH = 20
_STATUS = ("success", "failure", "always")
_OF_TEXT = ("contains", "starts_with")
_TOKEN = re.compile(r"\s*(?:('[^']*')|([A-Za-z_][A-Za-z0-9_.-]*)|(==|!=|&&|\|\||[!(),]))")


class _Token(NamedTuple):
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Condition:
    """When a job runs, in `text` as it is written."""

    text: str
    _tree: tuple[Any, ...]
    _words: frozenset[str]
    """The names and functions in it."""

    @property
    def asks_for_failures(self) -> bool:
        """Whether it decides, too, where a job that is needed did not succeed."""
        return bool(self._words & {"failure", "always"})

    @property
    def reads_event(self) -> bool:
        """Whether it may differ between a push and a pull request of the same commit."""
        return bool(self._words & set(NAMES))

    def fits(self, values: Mapping[str, str | None], *, failed: bool) -> bool:
        """Whether the job runs. `failed` is whether a job that is needed did not succeed.

        `values` has what is known by each name, also `matrix.` and the names of axes.
        """
        return _truth(_value(self._tree, values, failed))


def parse(text: str, axes: frozenset[str] = frozenset()) -> Condition:
    """The condition in `text`, which may name these axes of a matrix. Raises ValueError."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"'if' has {len(text)} characters; at most {MAX_LENGTH} are taken")
    inner = text.strip()
    if inner.startswith("${{") and inner.endswith("}}"):
        inner = inner[3:-2]
    reader = _Parser(_tokens(inner), axes)
    tree = reader.whole()
    return Condition(" ".join(inner.split()), tree, frozenset(reader.words))


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            rest = text[position:].lstrip()
            hint = "put text between single quotes" if rest[0] in "\"'" else "this is not understood"
            raise ValueError(f"'if' at '{short(rest)}': {hint}; as in branch == 'main'")
        quoted, name, sign = match.groups()
        if quoted is not None:
            found.append(_Token("text", quoted[1:-1]))
        else:
            found.append(_Token("name" if name else "sign", name or sign))
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[_Token], axes: frozenset[str]) -> None:
        self._tokens = tokens
        self._axes = axes
        self._next = 0
        self._depth = 0
        self.words: set[str] = set()

    def whole(self) -> tuple[Any, ...]:
        tree = self._either()
        if self._next < len(self._tokens):
            raise ValueError(f"'if' has '{short(self._tokens[self._next].text)}' where && or || should be")
        return tree

    def _either(self) -> tuple[Any, ...]:
        tree = self._both()
        while self._takes("||"):
            tree = ("or", tree, self._both())
        return tree

    def _both(self) -> tuple[Any, ...]:
        tree = self._comparison()
        while self._takes("&&"):
            tree = ("and", tree, self._comparison())
        return tree

    def _comparison(self) -> tuple[Any, ...]:
        tree = self._single()
        for sign in ("==", "!="):
            if self._takes(sign):
                tree = (sign, tree, self._single())
        return tree

    def _single(self) -> tuple[Any, ...]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"'if' is nested more than {_MAX_DEPTH} levels deep")
        try:
            if self._takes("!"):
                return ("not", self._single())
            if self._takes("("):
                tree = self._either()
                self._needs(")")
                return tree
            token = self._token("a value")
            if token.kind == "text":
                return ("text", token.text)
            if token.kind == "name":
                return self._function(token.text) if self._takes("(") else self._name(token.text)
            raise ValueError(f"'if' has '{token.text}' where a value should be")
        finally:
            self._depth -= 1

    def _function(self, name: str) -> tuple[Any, ...]:
        if name in _STATUS:
            self._needs(")")
            self.words.add(name)
            return (name,)
        if name in _OF_TEXT:
            first = self._single()
            self._needs(",")
            second = self._single()
            self._needs(")")
            return (name, first, second)
        functions = (*_STATUS, *_OF_TEXT)
        hint = did_you_mean(near(name, functions)) or f"; there are {', '.join(functions)}"
        raise ValueError(f"'if' has the unknown function '{short(name)}'{hint}")

    def _name(self, name: str) -> tuple[Any, ...]:
        if name in ("null", "true", "false"):
            return ("text", {"null": None, "true": "true", "false": ""}[name])
        axis = name.removeprefix("matrix.")
        if axis != name:
            if axis not in self._axes:
                raise ValueError(f"the matrix has no '{short(axis)}'")
        elif name in _STATUS:
            raise ValueError(f"'{name}' is a function; write {name}()")
        elif name not in NAMES:
            hint = did_you_mean(near(name, NAMES)) or f"; there are {', '.join(NAMES)}"
            raise ValueError(f"'if' has the unknown name '{short(name)}'{hint}, and text needs single quotes")
        self.words.add(name)
        return ("name", name)

    def _takes(self, sign: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next] == ("sign", sign):
            self._next += 1
            return True
        return False

    def _needs(self, sign: str) -> None:
        if not self._takes(sign):
            raise ValueError(f"'if' lacks a '{sign}'")

    def _token(self, what: str) -> _Token:
        if self._next == len(self._tokens):
            raise ValueError(f"'if' ends where {what} should be")
        self._next += 1
        return self._tokens[self._next - 1]


def _truth(value: str | bool | None) -> bool:
    return bool(value)


def _value(tree: tuple[Any, ...], values: Mapping[str, str | None], failed: bool) -> str | bool | None:
    kind, *rest = tree
    if kind == "text":
        return rest[0]
    if kind == "name":
        return values.get(rest[0])
    if kind in _STATUS:
        return {"success": not failed, "failure": failed, "always": True}[kind]
    found = [_value(one, values, failed) for one in rest]
    if kind == "not":
        return not _truth(found[0])
    if kind == "and":
        return _truth(found[0]) and _truth(found[1])
    if kind == "or":
        return _truth(found[0]) or _truth(found[1])
    if kind in ("==", "!="):
        return (found[0] == found[1]) is (kind == "==")
    text, other = (one if isinstance(one, str) else "" for one in found)
    return text.startswith(other) if kind == "starts_with" else other in text
