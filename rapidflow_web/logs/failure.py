"""What a log says of a failure, in one line: the message that a person would quote. Pure.

Takes time in the length of what it is given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rapidflow_web.logs.displayed_text import ANNOTATION, displayed

WINDOW = 64 * 1024
"""Bytes of a log, from its first error on, in which the message is looked for."""
_LONGEST = 300
"""Characters of a message."""
_LONGEST_LINE = 4_000
"""Characters of a line, as a reader sees it, that are looked at."""

_TRACEBACK = "Traceback (most recent call last)"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_DECORATION = re.compile(r"\A(?:(?i:npm (?:ERR!|error) )|E {3,}|\[ERROR\] )")
"""How tools other than GitHub Actions mark a line as an error, for programs: what it begins with."""
_NPM = re.compile(r"\Anpm (?:ERR!|error)(?: |\Z)")
_NPM_DETAIL = re.compile(r"\Anpm (?:ERR!|error)\s*(?:\Z|(?:code|errno|syscall|path|type)\b)")
"""What npm prints before it says what is wrong: `npm ERR! code ENOENT`."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, and in which line of what was looked at it stands, counted from 0."""

    text: str
    line: int


def message(window: bytes) -> Message | None:
    """What went wrong, from the bytes that begin with the first error; None where they say nothing."""
    printed = [
        displayed(line).decode("utf-8", "replace")[:_LONGEST_LINE].rstrip() for line in window.split(b"\n")
    ]
    at = _line(printed)
    line = ANNOTATION.sub(b"", printed[at].strip().encode(), count=1).decode()
    text = _DECORATION.sub("", line.strip(), count=1).strip()
    return Message(text[:_LONGEST], at) if text else None


def _line(printed: list[str]) -> int:
    """The line of the message: that of a traceback is its last one."""
    first = printed[0]
    if first.startswith(_TRACEBACK):
        return _last_of_traceback(printed)
    if "panicked at" in first and first.endswith(":") and printed[1:2] and printed[1].strip():
        return 1
    if _NPM_DETAIL.match(first):
        return _first_sentence_of_npm(printed)
    return 0


def _first_sentence_of_npm(printed: list[str]) -> int:
    """The line in which npm says what is wrong; the first where it does not."""
    for at, line in enumerate(printed):
        if not _NPM.match(line):
            break
        if not _NPM_DETAIL.match(line):
            return at
    return 0


def _last_of_traceback(printed: list[str]) -> int:
    at = found = 0
    while at < len(printed) and printed[at].startswith(_TRACEBACK):
        at += 1
        while at < len(printed) and (printed[at].startswith(" ") or not printed[at]):
            at += 1
        if at == len(printed):
            break
        found = at
        # One that was raised while another was handled comes after it, and is what ended the program.
        while at < len(printed) and not printed[at].startswith(_CHAINED):
            at += 1
        at += 1
        while at < len(printed) and not printed[at]:
            at += 1
    return found
