"""Text of others in messages: one line, without control characters, of a bounded length. Pure."""

from __future__ import annotations

import unicodedata

from rapidflow_web.pipeline.durations import format_elapsed


def one_line(text: str, most: int) -> str:
    """The first line of a text that has something in it, with at most `most` characters."""
    # What is cut off anyway need not be looked at.
    lines = text[: 10 * most].splitlines()
    first = next((line for line in lines if line.strip()), "")
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in first)
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else f"{shown[: most - 1].rstrip()}…"


def lasted(started_at: int | None, finished_at: int | None) -> str | None:
    """How long a build ran, such as `2m05s`; None where it did not. Times are in ms."""
    if started_at is None or finished_at is None:
        return None
    return format_elapsed(finished_at - started_at)
