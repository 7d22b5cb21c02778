"""What is read out of pages."""

from __future__ import annotations

import re


def made_from(page: str) -> dict[str, str]:
    """The hidden field of a page's form that says what it was made from."""
    return dict(re.findall(r'<input type="hidden" name="(was)" value="([^"]*)"', page))
