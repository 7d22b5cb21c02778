"""Reads YAML's nodes as text, flags and mappings; notes where what is not as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import yaml

from rapidflow_web.errors import Problem
from rapidflow_web.pipeline import matrix
from rapidflow_web.pipeline.document import MAX_KEYS, TAG, problem
from rapidflow_web.pipeline.language import where_allowed
from rapidflow_web.pipeline.matrix import Cell
from rapidflow_web.pipeline.scalars import as_written, has_no_colon
from rapidflow_web.pipeline.suggestions import did_you_mean, near, short

_KINDS = {yaml.ScalarNode: "a value", yaml.SequenceNode: "a list", yaml.MappingNode: "a mapping"}
_SCALARS = {"int": "a number", "float": "a number", "bool": "true or false", "timestamp": "a date"}
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

MAX_PROBLEMS = 100
"""That are told; of more nobody needs to know what was meant, and finding that out takes time."""

_MOST_FILLED = 4 * 1024 * 1024

T = TypeVar("T")


class Reader:
    """Collects `problems` of a text; what is not there, or not right, is read as None or nothing."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.problems: list[Problem] = []
        self._meant: set[str] = set()
        """Fields that probably are there, under a misspelt key."""
        self._noted: set[Problem] = set()
        self.cell: Cell | None = None
        """The values that texts are filled with while a job with a matrix is read; None outside of jobs."""
        self.filled = 0
        """Characters of texts that were filled."""

    def flag(self, keys: Mapping[str, yaml.Node], key: str, field: str = "") -> bool:
        """Whether a key is there and true."""
        node = keys.get(key)
        if node is None or is_null(node):
            return False
        flag = _FLAGS.get(str(node.value).lower()) if node.tag == f"{TAG}bool" else None
        if flag is None:
            self.note(within(field, key), node.start_mark, f"'{key}' must be true or false")
        return bool(flag)

    def mapping(
        self,
        node: yaml.Node,
        field: str,
        what: str,
        known: Iterable[str] | None = None,
        check: Callable[[str], object] = str,
        on: str | None = None,
    ) -> dict[str, yaml.Node] | None:
        """The node's keys, each once and each known and right; None where it is not a mapping.

        A key `on` is given, however it is written, as `on`: to a YAML 1.1 reader it is the boolean true.
        """
        if not isinstance(node, yaml.MappingNode):
            self.note(
                field, node.start_mark, f"{what} must be a mapping of keys to values, not {kind_of(node)}"
            )
            return None
        if len(node.value) > MAX_KEYS:
            message = f"{what} has {len(node.value)} keys; at most {MAX_KEYS} are taken"
            self.note(field, node.start_mark, message)
            return {}
        keys: dict[str, yaml.Node] = {}
        first_lines: dict[str, int] = {}
        for key_node, value in cast(list[tuple[yaml.Node, yaml.Node]], node.value):
            mark = key_node.start_mark
            if not isinstance(key_node, yaml.ScalarNode):
                self.note(field, mark, f"a key must be text, not {kind_of(key_node)}")
                continue
            key = str(key_node.value)
            if on is not None and key_node.tag == f"{TAG}bool" and key.lower() in ("on", "true"):
                key = on
            path = f"{field}.{key}" if field else key
            if node.flow_style and is_null(value) and has_no_colon(self._text, key_node, value):
                self._meant.update(f"{field}.{name}" for name in known or ())
                self.note(
                    path, mark, f"'{short(key)}' has no value; put a value with a comma or braces in quotes"
                )
                continue
            if key in first_lines:
                self.note(path, mark, f"duplicate key '{short(key)}', first used in line {first_lines[key]}")
                continue
            first_lines[key] = mark.line + 1
            if known is not None and key not in known:
                meant = near(key, known) if len(self.problems) < MAX_PROBLEMS else ""
                self._meant.add(f"{field}.{meant}" if field else meant)
                hint = did_you_mean(meant) or where_allowed(key)
                self.note(path, mark, f"unknown key '{short(key)}'{hint}")
                continue
            try:
                check(key)
            except ValueError as error:
                self.note(path, mark, str(error))
                continue
            keys[key] = value
        return keys

    def text(
        self,
        keys: Mapping[str, yaml.Node],
        key: str,
        check: Callable[[str], T],
        field: str = "",
        *,
        any_scalar: bool = False,
        script: bool = False,
        others: bool = False,
    ) -> T | None:
        """The text of a key after `check`, like `scalar`; None where the key is not there."""
        node = keys.get(key)
        if node is None or is_null(node):
            return None
        field = f"{field}.{key}" if field else key
        return self.scalar(
            node, field, f"'{key}'", check, any_scalar=any_scalar, script=script, others=others
        )

    def scalar(
        self,
        node: yaml.Node,
        field: str,
        what: str,
        check: Callable[[str], T],
        *,
        any_scalar: bool,
        script: bool = False,
        others: bool = False,
    ) -> T | None:
        """The node's text as it is written (see `as_written`) after `check`; None for null or a problem.

        With `any_scalar` numbers, dates and booleans are taken as they are written. Within a job, values of
        its matrix are filled in; with `others`, `check` judges what else stands in `${{ }}`.
        """
        if not isinstance(node, yaml.ScalarNode):
            as_text = "; put text in quotes" if cast(Any, node).flow_style else ""
            self.note(field, node.start_mark, f"{what} must be text, not {kind_of(node)}{as_text}")
            return None
        if is_null(node):
            if not any_scalar:
                self.note(field, node.start_mark, f"{what} must be text, and nothing is there")
            return None
        if node.tag != f"{TAG}str" and not any_scalar:
            kind = _SCALARS.get(node.tag.removeprefix(TAG), "a sign of YAML's own")
            self.note(field, node.start_mark, f"{what} must be text, not {kind}; put it in quotes")
            return None
        try:
            text = as_written(self._text, node, script=script)
            return check(text if self.cell is None else self._fill(text, self.cell, others))
        except ValueError as error:
            self.note(field, node.start_mark, str(error))
            return None

    def note(self, field: str, mark: Any, message: str) -> None:
        """Notes a problem with `field` at `mark` (see `document.problem`)."""
        found = problem(field, mark, message)
        # What is read for each combination of a matrix is noted once.
        if found not in self._noted:
            self._noted.add(found)
            self.problems.append(found)

    def _fill(self, text: str, cell: Cell, others: bool) -> str:
        if "${{" not in text:
            return text
        text = matrix.filled(text, cell, others=others)
        self.filled += len(text)
        if self.filled > _MOST_FILLED:
            raise ValueError(f"with the values of the matrix this has more than {_MOST_FILLED} characters")
        return text

    def note_missing(self, field: str, node: yaml.Node, message: str) -> None:
        """Notes that a field is not there."""
        # Where the key is only misspelt, that is what should be read.
        if field not in self._meant:
            self.note(field, node.start_mark, message)


def within(place: str, key: str) -> str:
    """The name of the field of a key in a place, e.g. `jobs.test.image`."""
    return f"{place}.{key}" if place else key


def is_null(node: yaml.Node) -> bool:
    """Whether nothing is there."""
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{TAG}null"


def kind_of(node: yaml.Node) -> str:
    """What a node is, as part of a sentence."""
    if is_null(node):
        return "empty"
    return next(name for kind, name in _KINDS.items() if isinstance(node, kind))
