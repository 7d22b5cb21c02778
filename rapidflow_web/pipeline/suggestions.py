"""What users wrote, in sentences about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ALIKE = 0.75
"""From which ratio on words that begin differently are alike: 'cron' is not meant to be 'on'."""


def near(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or an empty one."""
    word = word.lower()
    return next((one for one in difflib.get_close_matches(word, list(known)) if _fits(word, one)), "")


def _fits(word: str, known: str) -> bool:
    return word[:1] == known[:1] or difflib.SequenceMatcher(None, known, word).ratio() >= _ALIKE


def did_you_mean(word: str) -> str:
    """The end of a sentence about something unknown, with what `near` found."""
    return f", did you mean '{word}'?" if word else ""


def short(text: str) -> str:
    """The text as one line of bounded length, which moves no cursor."""
    text = " ".join(text.split())
    return printable(text if len(text) <= 60 else f"{text[:57]}...")


def printable(text: str) -> str:
    """The text in one line that moves no cursor, whatever is in it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
