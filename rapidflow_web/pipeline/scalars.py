"""What YAML would change in a value without a word: it is kept as it is written, or refused."""

from __future__ import annotations

import re
from typing import Any

import yaml

_ANCHOR = re.compile(r"&\S+\s+")
_COMMENT = re.compile(r"[ \t]{1,1000}#[^\n]{0,1000}")
"""As far as it matters: a thousand aliases may stand for the value before a very long one."""
_LONGEST_KEY = 1_000
_ITEM = re.compile(r"[ \t]*(?:-[ \t]+|[\w.-]+:[ \t]+)+([\[{\"'`&*!|>%@?])")
_LONGEST_SHOWN = 400


def as_written(text: str, node: yaml.ScalarNode, *, script: bool) -> str:
    """The value of a scalar of `text`. Raises ValueError where it is not what its author wrote.

    Block scalars and quotes are YAML's own and mean what YAML says, as long as no line end is lost.
    """
    start, end = _index(node.start_mark), _index(node.end_mark)
    source, plain = text[start:end], not node.style
    if anchor := _ANCHOR.match(source):
        source = source[anchor.end() :]
    value = str(node.value)
    if source.startswith("!") and not source.startswith(("!!", "!<tag:")):
        # To YAML that is a tag, to a shell it means "not".
        if not plain or not (source == "!" or source[1].isspace()):
            raise ValueError("put all of a value that begins with '!' in quotes, or write it below '|'")
        value = source.rstrip()
    if node.style not in ("|", ">") and _loses_line_ends(source, node.style):
        raise ValueError(
            "YAML joins these lines into one; write a value of several lines below '|', or in one line"
        )
    if plain and (comment := _COMMENT.match(text, end)):
        left_open = _left_open(value)
        if left_open and (script or left_open in comment[0]):
            raise ValueError(
                f"YAML takes what follows ' #' for a comment, with {left_open} left open before it; "
                "put all of the value in quotes, or write it below '|'"
            )
    return value


def has_no_colon(text: str, key: yaml.Node, value: yaml.Node) -> bool:
    """Whether a key within braces stands alone, as does what follows a comma in a value without quotes."""
    start, end = _index(key.end_mark), _index(value.end_mark)
    return 0 <= end - start < _LONGEST_KEY and _index(value.start_mark) == end and ":" not in text[start:end]


def hint(text: str, marks: tuple[Any, ...]) -> str:
    """What to do about a text that is not YAML, to be added to the reason; often empty."""
    for mark in marks:
        if mark is None:
            continue
        begin = text.rfind("\n", 0, mark.index) + 1
        if item := _ITEM.match(text, begin, begin + _LONGEST_SHOWN):
            return f"; put all of a value that begins with {item[1]} in quotes, or write it below '|'"
    return ""


def _index(mark: Any) -> int:
    return mark.index


def _loses_line_ends(source: str, style: str | None) -> bool:
    """Whether a line end in it becomes a space."""
    if "\n" not in source:
        return False
    if not style:
        return True
    lines = [line.strip() for line in source.split("\n")]
    for i in range(len(lines) - 1):
        line = lines[i]
        continued = style == '"' and (len(line) - len(line.rstrip("\\"))) % 2
        if line and lines[i + 1] and not continued:
            return True
    return False


def _left_open(script: str) -> str:
    """The quote, backslash or bracket that a line of a script leaves open; empty where there is none."""
    quote, depth, escaped = "", 0, False
    for character in script:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"`":
            quote = character
        else:
            depth += (character in "({") - (character in ")}")
    return quote or ("\\" if escaped else "(" if depth > 0 else "")
