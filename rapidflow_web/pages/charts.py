"""Charts of builds, as numbers that templates draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidflow_web.db.builds import Bar

_STATUSES = ("success", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Column:
    """One build in a chart. `height` is in percent of the chart's."""

    id: int
    status: str
    height: float
    duration: int | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the last builds: durations in ms of the successful ones, the share that succeeded, in percent."""

    builds: int
    median: int | None
    p95: int | None
    success: int | None
    last_success: int | None


def columns(bars: Sequence[Bar], tallest: int | None = None) -> list[Column]:
    """Columns as high as the builds took long; the longest, or `tallest` ms, is as high as the chart."""
    most = tallest or max((bar.duration or 0 for bar in bars), default=0) or 1
    return [
        Column(bar.id, bar.status, max(12.0, min(100.0, (bar.duration or 0) / most * 100)), bar.duration)
        for bar in bars
    ]


def statistics(bars: Sequence[Bar]) -> Statistics:
    """What the last builds say of a pipeline."""
    ended = [bar for bar in bars if bar.status in _STATUSES]
    good = [bar for bar in ended if bar.status == "success"]
    durations = sorted(bar.duration for bar in good if bar.duration is not None)
    judged = [bar for bar in ended if bar.status != "cancelled"]
    return Statistics(
        builds=len(ended),
        median=_quantile(durations, 0.5),
        p95=_quantile(durations, 0.95),
        success=round(100 * len(good) / len(judged)) if judged else None,
        last_success=max((bar.finished_at or 0 for bar in good), default=None),
    )


def _quantile(values: Sequence[int], share: float) -> int | None:
    return values[min(len(values) - 1, int(len(values) * share))] if values else None
