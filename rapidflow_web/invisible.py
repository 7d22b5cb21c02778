"""Characters that nobody sees, or that turn words around; text of others is shown with escapes for them."""

from __future__ import annotations

import re

_CHARACTERS = (
    r"\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e0fff"
)
"""Controls, marks of direction, ends of lines, blanks of no width, joiners, tags, halves of characters."""
_JOINED = r"[^\x00-\xad\u200b-\u200f]"
_JOINERS = r"[\u200c\u200d]"
_JOINS_NOTHING = rf"(?:(?<!{_JOINERS})|(?<!{_JOINED}{_JOINERS})|(?!{_JOINED}))"
"""Behind a character: not where it is a joiner at work, as in emoji, Persian and the scripts of India."""


def pattern(others: str) -> re.Pattern[str]:
    """Matches one of these characters, and of `others`, as in a class of a regular expression."""
    # All in one class: otherwise a search takes ten times as long.
    return re.compile(f"[{others}{_CHARACTERS}]{_JOINS_NOTHING}")
