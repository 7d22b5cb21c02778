"""From YAML text to YAML's node tree, within bounds: whoever wrote the text may mean harm.

The tree rather than Python values, because a node knows where it stands, and `version: 1.20` is still "1.20"
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import yaml

from rapidflow_web.errors import Invalid, Problem

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML without libyaml
    from yaml import SafeLoader as _Loader

MAX_DEPTH = 20
MAX_NODES = 20_000

TAG = "tag:yaml.org,2002:"
"""What the tags of YAML's own types begin with."""

_TAGS = {
    None, "!", *(TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map")),
}  # fmt: skip
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


def compose(text: str) -> yaml.Node | None:
    """The root node; None where there is nothing but comments. Raises `Invalid` with one problem."""
    _check_characters(text)
    try:
        _check_events(text)
        return cast(yaml.Node | None, yaml.compose(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context
        if mark is not None and text[mark.index : mark.index + 1] == "\t":
            reason = "a tab can't indent; use spaces"
        raise _invalid(mark, f"this is not YAML: {reason}") from None
    except yaml.YAMLError as error:
        raise _invalid(None, f"this is not YAML: {' '.join(str(error).split())}") from None


def script_taken_apart(node: yaml.Node) -> str | None:
    """The script that YAML read as a key and a value, by a colon in it; None where it can't be one.

    No key of a step has a space in it.
    """
    if not isinstance(node, yaml.MappingNode) or node.flow_style or len(node.value) != 1:
        return None
    ((key, value),) = cast(list[tuple[yaml.Node, yaml.Node]], node.value)
    if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
        return None
    return f"{key.value}: {value.value}" if " " in str(key.value).strip() else None


def problem(field: str, mark: Any, message: str) -> Problem:
    """A problem with the place that `mark`, a mark of YAML's or None, stands for."""
    if mark is None:
        return Problem(field, _printable(message))
    return _problem_at(field, mark.line + 1, mark.column + 1, message)


def _problem_at(field: str, line: int, column: int, message: str) -> Problem:
    return Problem(field, f"line {line}, column {column}: {_printable(message)}", line, column)


def _printable(message: str) -> str:
    """The message in one line that moves no cursor, whatever it shows of the text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)


def _invalid(mark: Any, message: str) -> Invalid:
    return Invalid([problem("", mark, message)])


def _check_characters(text: str) -> None:
    """Refuses what YAML does not take as it is; the loader would not say in which line."""
    found = _UNPRINTABLE.search(text)
    if found is None:
        return
    lines = _LINE_END.split(text[: found.start()])
    message = f"this is not YAML: the character U+{ord(found[0]):04X} is not allowed"
    raise Invalid([_problem_at("", len(lines), len(lines[-1]) + 1, message)])


def _check_events(text: str) -> None:
    """Refuses what would take very long or very deep to compose, and what composing explains badly."""
    depth = nodes = documents = 0
    sizes: dict[str, int | None] = {}  # of what an anchor stands for; None while it is open
    open_anchors: list[tuple[str | None, int]] = []
    for event in cast(Iterable[yaml.Event], yaml.parse(text, Loader=_Loader)):
        mark: Any = event.start_mark
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _invalid(mark, "a second document begins here; a pipeline is a single one")
        elif isinstance(event, yaml.AliasEvent):
            # An alias counts for all that it stands for.
            size = sizes.get(event.anchor)
            if size is None:
                where = "is inside its own anchor" if event.anchor in sizes else "has no anchor before it"
                raise _invalid(mark, f"the alias '*{event.anchor[:60]}' {where}")
            nodes += size
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            nodes += 1
            if event.tag not in _TAGS:
                raise _invalid(mark, f"the tag '{event.tag[:60]}' means nothing here; leave it out")
            if event.anchor in sizes:
                raise _invalid(mark, f"the anchor '&{event.anchor[:60]}' is there twice")
            if event.anchor:
                sizes[event.anchor] = 1 if isinstance(event, yaml.ScalarEvent) else None
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                open_anchors.append((event.anchor, nodes - 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            anchor, before = open_anchors.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if depth > MAX_DEPTH:
            raise _invalid(mark, f"this is nested more than {MAX_DEPTH} levels deep")
        if nodes > MAX_NODES:
            raise _invalid(mark, f"this has more than {MAX_NODES} values, aliases resolved")
