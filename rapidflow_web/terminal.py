"""What is printed on a terminal: text of others may have characters that command it, or turn words around."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TextIO

from rapidflow_web import invisible

_UNSAFE_IN_JSON = invisible.pattern("")
_UNSAFE_IN_LINES = invisible.pattern(r"\x00-\x08\x0b-\x1f")
_UNSAFE = invisible.pattern(r"\x00-\x1f")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_in_json(found: re.Match[str]) -> str:
    # JSON has no escape for more than four digits, and writes two for one such character.
    return json.dumps(found[0])[1:-1] if ord(found[0]) > 0xFF else f"\\u{ord(found[0]):04x}"


def safe(text: object) -> str:
    """The text in one line, with what a terminal would obey shown as an escape such as \\x1b."""
    return _UNSAFE.sub(_escape, str(text))


def safe_lines(text: str) -> str:
    """The same of text that may have line breaks and tabs."""
    return _UNSAFE_IN_LINES.sub(_escape, text)


def safe_json(text: str) -> str:
    """The same JSON text, with nothing in it that a terminal would obey."""
    return _UNSAFE_IN_JSON.sub(_escape_in_json, text)


def shown_size(size: float) -> str:
    """A number of bytes for people, e.g. `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def out(text: object) -> None:
    """Prints a line to standard output. Raises `OSError`, perhaps only when that is flushed."""
    print(safe(text))


def note(text: object) -> None:
    """Prints a line to standard error; nothing where nobody can read it."""
    try:
        print(safe(text), file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)


def open_missing() -> bool:
    """Opens those of standard input, output and error that are closed, to nothing; whether output was open.

    The next file that is opened would take the place of one, and have in it what is meant for the terminal.
    """
    had_output = _is_open(1)
    for number in range(3):
        if not _is_open(number):
            # It is given the lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    return had_output


def drop_output() -> None:
    """Has what is still to be printed go nowhere, because it would be tried again at the exit."""
    _silence(sys.stdout)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _silence(stream: TextIO) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
