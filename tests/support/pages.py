"""What is read out of pages."""

from __future__ import annotations

import re


def began_with(page: str) -> dict[str, str]:
    """The hidden fields of a page that say what the others of their form began with."""
    return dict(re.findall(r'<input type="hidden" name="(was_\w+)" value="([^"]*)"', page))
