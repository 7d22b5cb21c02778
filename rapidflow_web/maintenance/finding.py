"""What the doctor finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, as a sentence; `mend` puts it right, None where that is for a person to do."""

    what: str
    mend: Callable[[], Awaitable[object]] | None = None
