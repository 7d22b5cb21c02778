"""How the labels of a pipeline are stored: one a line, in a column that is null where there are none."""

from __future__ import annotations

from collections.abc import Sequence


def stored(labels: Sequence[str]) -> str | None:
    """The labels as the column has them."""
    return "\n".join(labels) or None


def each(column: str | None) -> tuple[str, ...]:
    """The labels that a column has."""
    return tuple(column.split("\n")) if column else ()
