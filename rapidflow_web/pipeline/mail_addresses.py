"""Which mail addresses are taken: those that a mail can be sent to and from without quotes. Pure."""

from __future__ import annotations

import re

MAX_ADDRESS = 254
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# Dots stand between atoms only: who takes an address apart by the standard refuses others.
_ADDRESS = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")


def is_address(text: str) -> bool:
    """Whether it is one mail address, without a name."""
    return len(text) <= MAX_ADDRESS and _ADDRESS.fullmatch(text) is not None
