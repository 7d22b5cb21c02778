"""From YAML text to YAML's node tree, within bounds: whoever wrote the text may mean harm.

The tree rather than Python values, because a node knows where it stands, and `version: 1.20` is still "1.20"
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import yaml
from yaml import CSafeLoader as _Loader  # the one in Python takes fifty times as long

from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.pipeline.scalars import hint
from rapidflow_web.pipeline.suggestions import printable

MAX_TEXT = 512 * 1024
"""Characters."""
MAX_DEPTH = 20
MAX_NODES = 10_000
MAX_KEYS = 1_000
"""Of one mapping."""

TAG = "tag:yaml.org,2002:"
"""What the tags of YAML's own types begin with."""

_TAGS = {
    None, "!", *(TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map")),
}  # fmt: skip
_NULLS = ("", "~", "null", "Null", "NULL")
_TAG_DIRECTIVE = re.compile("^%TAG", re.MULTILINE)
_LINE_ENDS = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
"""What YAML takes for the end of a line, and editors don't."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PAIR = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


def compose(text: str) -> yaml.Node | None:
    """The root node; None where there is nothing but comments. Raises `Invalid` with one problem.

    Marks count characters of the text without its byte order mark.
    """
    if len(text) > MAX_TEXT:
        message = f"the pipeline has {len(text)} characters; at most {MAX_TEXT} are taken"
        raise Invalid([_problem_at("", 1, 1, message)])
    _check_characters(text)
    try:
        _check_events(text)
        return cast(yaml.Node | None, yaml.compose(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context
        if mark is not None and text[mark.index : mark.index + 1] == "\t":
            reason = "a tab can't indent; use spaces"
        elif reason == "mapping values are not allowed in this context":
            reason += "; put all of a value with ': ' in it in quotes, or write it below '|'"
        elif mark is not None and (pair := _PAIR.search(text, max(mark.index - 2, 0), mark.index + 12)):
            character = bytes.fromhex(pair[1] + pair[2]).decode("utf-16-be")
            reason = (
                f"two escapes can't stand for one character, as they do in JSON; write {character} itself, "
                f"or \\U{ord(character):08X}"
            )
        else:
            reason = f"{reason}{hint(text, (error.problem_mark, error.context_mark))}"
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
        return Problem(field, printable(message))
    return _problem_at(field, mark.line + 1, mark.column + 1, message)


def _problem_at(field: str, line: int, column: int, message: str) -> Problem:
    return Problem(field, f"line {line}, column {column}: {printable(message)}", line, column)


def _invalid(mark: Any, message: str) -> Invalid:
    return Invalid([problem("", mark, message)])


def _check_characters(text: str) -> None:
    """Refuses what YAML does not take as it is; the loader would not say in which line."""
    if found := _UNPRINTABLE.search(text):
        message = f"this is not YAML: the character U+{ord(found[0]):04X} is not allowed"
    elif found := _LINE_ENDS.search(text):
        message = (
            f"the character U+{ord(found[0]):04X} ends a line in YAML alone; "
            "write it as an escape in double quotes"
        )
    elif found := _TAG_DIRECTIVE.search(text):
        # A hundred thousand of them take half a minute.
        message = "the directive '%TAG' means nothing here; leave it out"
    else:
        return
    lines = _LINE_END.split(text[: found.start()])
    raise Invalid([_problem_at("", len(lines), len(lines[-1]) + 1, message)])


def _check_events(text: str) -> None:
    """Refuses what would take very long or very deep to compose, and what composing explains badly."""
    depth = nodes = characters = documents = 0
    # Of what an anchor stands for, nodes and characters; None while it is open.
    sizes: dict[str, tuple[int, int] | None] = {}
    open_anchors: list[tuple[str | None, int, int]] = []
    unused: dict[str, Any] = {}  # anchors of values, by name, with their marks
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
            nodes, characters = nodes + size[0], characters + size[1]
            unused.pop(event.anchor, None)
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            nodes += 1
            if event.tag not in _TAGS or not _fits(event):
                raise _invalid(
                    mark,
                    f"the tag '{str(event.tag)[:60]}' means nothing here; leave it out, "
                    "or put all of a value that begins with '!' in quotes",
                )
            if event.anchor in sizes:
                raise _invalid(mark, f"the anchor '&{event.anchor[:60]}' is there twice")
            if event.anchor:
                if isinstance(event, yaml.ScalarEvent) and not cast(Any, event).style:
                    unused[event.anchor] = mark
                sizes[event.anchor] = (1, _length(event)) if isinstance(event, yaml.ScalarEvent) else None
            if isinstance(event, yaml.ScalarEvent):
                characters += _length(event)
            else:
                depth += 1
                open_anchors.append((event.anchor, nodes - 1, characters))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            anchor, nodes_before, characters_before = open_anchors.pop()
            if anchor:
                sizes[anchor] = nodes - nodes_before, characters - characters_before
        if depth > MAX_DEPTH:
            raise _invalid(mark, f"this is nested more than {MAX_DEPTH} levels deep")
        if nodes > MAX_NODES:
            raise _invalid(mark, f"this has more than {MAX_NODES} values, aliases resolved")
        if characters > MAX_TEXT:
            raise _invalid(mark, f"this has more than {MAX_TEXT} characters, aliases resolved")
    for name, mark in unused.items():
        raise _invalid(
            mark, f"no alias uses the anchor '&{name[:60]}'; put a value that begins with '&' in quotes"
        )


def _length(event: Any) -> int:
    """The characters of a value as it is written, which are never fewer than those it has."""
    return event.end_mark.index - event.start_mark.index


def _fits(event: Any) -> bool:
    """Whether a tag leaves a value and its kind as they are written."""
    if isinstance(event, yaml.ScalarEvent):
        return event.tag != f"{TAG}null" or event.value in _NULLS
    return event.tag != "!"
