"""Durations as people read and write them: `90s`, `30m`, `1h30m`, or a number of seconds."""

from __future__ import annotations

import re

_UNITS = {"h": 3600, "m": 60, "s": 1}
_PATTERN = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")


def parse_duration(text: str) -> int:
    """Seconds, at least 1. Raises ValueError with a sentence that says how to write one."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        seconds = int(text)
    else:
        match = _PATTERN.fullmatch(text)
        parts = match.groups() if match else ()
        seconds = sum(int(part) * unit for part, unit in zip(parts, _UNITS.values(), strict=False) if part)
    if seconds < 1:
        raise ValueError(f"{text[:60]!r} is not a duration; write one like 90s, 30m or 1h30m")
    return seconds


def format_duration(seconds: int) -> str:
    """The shortest exact way to write `seconds`, e.g. `1h30m`."""
    if seconds <= 0:
        return "0s"
    text = ""
    for letter, unit in _UNITS.items():
        count, seconds = divmod(seconds, unit)
        if count:
            text += f"{count}{letter}"
    return text


def format_elapsed(milliseconds: float, tenths: bool = True) -> str:
    """How long something took, rounded down: `3.2s`, `18m05s`, `1h02m`; without `tenths` `3s`.

    `static/js/durations.js` does the same.
    """
    count = max(0, int(milliseconds))
    seconds = count // 1000
    if seconds < 60:
        return f"{seconds}.{count % 1000 // 100}s" if tenths else f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
