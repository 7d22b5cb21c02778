"""What a measure gives, and how all of them are printed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measure. `met` is None where there is no bar to meet."""

    measure: str
    bar: str
    ours: str
    compared: str
    met: bool | None


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def show(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    heads = ("measure", "bar", "ours", "compared, same run", "met")
    cells = [heads] + [
        (row.measure, row.bar, row.ours, row.compared, {True: "yes", False: "NO", None: ""}[row.met])
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
