"""The jobs of a build as a graph that reads from left to right: a column for each depth of needs, and lines.

The styles of `job.css` know the width of a column and the height of a row; the lines are drawn in parts of
these and stretched to fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rapidflow_web.pages.parts import JobView

_CELL = 100
_NODE_END = 84
"""Where nodes end in the width of their column, as in `job.css`."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The jobs in columns, from the first to the last, and the lines between them."""

    columns: tuple[tuple[JobView, ...], ...]
    lines: Markup


def graph(jobs: Sequence[JobView]) -> Graph:
    """The graph of the jobs of a build, whose needs have no circle."""
    by_name = {job.name: job for job in jobs}
    needs = {job.name: [need for need in job.needs if need in by_name] for job in jobs}
    depths = _depths(needs)
    columns: list[list[JobView]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for job in jobs:
        columns[depths[job.name]].append(job)
    rows = max(map(len, columns), default=0)
    heights: dict[str, float] = {}
    for column in columns:
        # Each beside what it needs, so that few lines cross.
        column.sort(key=lambda job: _mean([heights[need] for need in needs[job.name]]))
        for place, job in enumerate(column):
            heights[job.name] = ((rows - len(column)) / 2 + place + 0.5) * _CELL
    lines = "".join(
        _line(depths[need], heights[need], depths[job.name], heights[job.name], by_name[need], job)
        for job in jobs
        for need in _direct(job.name, needs)
    )
    # Numbers and words of ours.
    return Graph(
        tuple(map(tuple, columns)),
        Markup(  # noqa: S704
            f'<svg class="lines" viewBox="0 0 {len(columns) * _CELL} {rows * _CELL}" '
            f'preserveAspectRatio="none" aria-hidden="true">{lines}</svg>'
        ),
    )


def _line(x: int, y: float, to_x: int, to_y: float, need: JobView, job: JobView) -> str:
    gap = _CELL - _NODE_END
    end = to_x * _CELL
    # Straight past the columns between, so that what is behind their nodes does not bend there.
    begin, middle = end - gap, end - gap / 2
    kind = ' class="critical"' if need.critical and job.critical else ""
    curve = f"H{begin}C{middle:g} {y:g} {middle:g} {to_y:g} {end} {to_y:g}"
    return f'<path{kind} d="M{x * _CELL + _NODE_END} {y:g}{curve}"/>'


def _depths(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many jobs must end one after the other before each begins."""
    depths: dict[str, int] = {}
    waiting = list(needs)
    while waiting:
        ready = [name for name in waiting if all(need in depths for need in needs[name])]
        depths |= {name: max((depths[need] + 1 for need in needs[name]), default=0) for name in ready}
        waiting = [name for name in waiting if name not in depths] if ready else []
    return depths


def _direct(name: str, needs: Mapping[str, Sequence[str]]) -> list[str]:
    """What a job needs, without that which another of its needs waits for already."""
    above: set[str] = set()
    waiting = [one for need in needs[name] for one in needs[need]]
    while waiting:
        if (one := waiting.pop()) not in above:
            above.add(one)
            waiting.extend(needs[one])
    return [need for need in needs[name] if need not in above]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0
