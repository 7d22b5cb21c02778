"""Charts of builds and what they say in numbers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from markupsafe import Markup, escape

from rapidflow_web.db.build_lists import Bar
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pipeline.durations import format_elapsed

_PLACE = 7
_HEIGHT = 28
_WIDE = 1000
_STATUSES = ("success", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the last builds: durations in ms of the successful ones, the share that succeeded, in percent."""

    builds: int
    median: int | None
    p95: int | None
    success: int | None
    last_success: int | None


@functools.lru_cache(maxsize=512)
def drawing(
    bars: tuple[Bar, ...], label: str, places: int, *, in_tab_order: bool = True, prefix: str = ""
) -> Markup:
    """Bars that link to their builds, as high as those took long, in `places` places.

    `prefix` is that of `web.prefix`. Made here and not in a template, which takes ten times as long for what
    the dashboard has 1,500 of.
    """
    tallest = ceiling(bars) or 1
    skipped = "" if in_tab_order else ' tabindex="-1"'
    drawn = "".join(
        f'<a class="{bar.status}" href="{prefix}/ui/jobs/{bar.id}"{skipped}><title>{_said(bar)}</title>'
        f"{_shape(bar, index * _PLACE, tallest)}</a>"
        for index, bar in enumerate(bars)
    )
    # Numbers and words of ours, but for the label.
    return Markup(  # noqa: S704
        f'<svg class="bars" viewBox="0 0 {places * _PLACE} {_HEIGHT}" preserveAspectRatio="none" '
        f'role="group" aria-label="{escape(label)}">{drawn}</svg>'
    )


def _said(bar: Bar) -> str:
    took = "" if bar.duration is None else f", {format_elapsed(bar.duration)}"
    return f"#{bar.id} {bar.status}{took}"


class _Timed(Protocol):
    @property
    def started_at(self) -> int | None: ...
    @property
    def finished_at(self) -> int | None: ...


class _Build(_Timed, Protocol):
    @property
    def created_at(self) -> int: ...


@blueprint.app_template_global("span_of")
def span_of(part: _Timed, build: _Build, waits_since: int | None = None) -> Markup:
    """When a part of a build that has ended went on, as a bar: all of them together are a waterfall.

    `waits_since` is when it could have begun, in ms; a thin bar leads from there.
    """
    whole = (build.finished_at or 0) - build.created_at
    if whole <= 0 or part.started_at is None or part.finished_at is None:
        return Markup()
    left = min(max(0, (part.started_at - build.created_at) / whole), 1) * _WIDE
    width = min(max(4.0, (part.finished_at - part.started_at) / whole * _WIDE), _WIDE)
    left = min(left, _WIDE - width)
    waited = ""
    if waits_since is not None:
        begin = min(max(0, (waits_since - build.created_at) / whole) * _WIDE, left)
        waited = f'<rect class="waited" x="{begin:.1f}" y="1.5" width="{left - begin:.1f}" height="1"/>'
    return Markup(  # noqa: S704
        f'<svg class="span" viewBox="0 0 {_WIDE} 4" preserveAspectRatio="none" aria-hidden="true">'
        f'{waited}<rect x="{left:.1f}" y="0" width="{width:.1f}" height="4"/></svg>'
    )


def ceiling(bars: Sequence[Bar]) -> int:
    """The duration in ms that the highest bar stands for; what takes three times the median is cut off."""
    durations = sorted(bar.duration for bar in bars if bar.duration)
    return min(durations[-1], 3 * durations[len(durations) // 2]) if durations else 0


def _shape(bar: Bar, left: int, tallest: int) -> str:
    share = (bar.duration or 0) / tallest
    height = max(4.0, min(share, 1.0) * _HEIGHT)
    shape = f'<rect x="{left}" y="{_HEIGHT - height:.1f}" width="6" height="{height:.1f}"/>'
    # One that is higher than the chart has a notch at its top.
    return f'{shape}<path d="M{left} 0h6l-3 4z"/>' if share > 1 else shape


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
