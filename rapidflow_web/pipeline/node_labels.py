"""The labels that `on_node` asks for, as text that is the same for the same labels."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping


def stored(labels: Mapping[str, str]) -> str | None:
    """The text; None for no labels."""
    return json.dumps(dict(sorted(labels.items())), separators=(",", ":")) if labels else None


@functools.lru_cache(maxsize=256)
def wanted(text: str | None) -> Mapping[str, str]:
    """The labels out of the text."""
    return json.loads(text) if text is not None else {}


def listed(labels: Mapping[str, str]) -> str:
    """The labels, as part of a sentence."""
    pairs = [f"{name}={value}" for name, value in sorted(labels.items())]
    return f"label{'s' * (len(pairs) != 1)} {', '.join(pairs)}"
