"""The jobs of a build as a graph that reads from left to right: a column for each depth of needs, and lines.

The styles of `job.css` know the width of a column and the height of a row; the lines are drawn in parts of
these and stretched to fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise

from markupsafe import Markup

from rapidflow_web.pages.parts import JobView

_CELL = 100
_NODE_END = 84
"""Where nodes end in the width of their column, as in `job.css`."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The jobs in columns, from the first to the last, and the lines between them.

    None in a column is a place that stays empty, for a line to a later column to pass.
    """

    columns: tuple[tuple[JobView | None, ...], ...]
    lines: Markup


def graph(jobs: Sequence[JobView]) -> Graph:
    """The graph of the jobs of a build, whose needs have no circle."""
    by_name = {job.name: job for job in jobs}
    all_needs = {job.name: [need for need in job.needs if need in by_name] for job in jobs}
    depths = _depths(all_needs)
    direct = _direct(all_needs, depths)
    needs = {name: direct[name] for name in all_needs}
    columns = _columns(needs, depths)
    rows = max(map(len, columns), default=0)
    heights: dict[tuple[str, int], float] = {}
    """Where a job stands in its column, and its lines pass later ones."""
    for at, column in enumerate(columns):
        # Each beside what it needs, so that few lines cross.
        column.sort(key=lambda name: _mean(_heights_before(name, at, needs, depths, heights)))
        for place, name in enumerate(column):
            heights[name, at] = ((rows - len(column)) / 2 + place + 0.5) * _CELL
    last: dict[str, str] = {}
    """For each job that of the last column among those to which its lines lead."""
    for name in sorted(needs, key=lambda name: depths[name]):
        last |= dict.fromkeys(needs[name], name)
    lines: list[str] = []
    for name in needs:
        for need in needs[name]:
            is_critical = by_name[need].critical and by_name[name].critical
            # The others leave the way of the last one where they bend: to draw all of it for each would be
            # as much as the jobs to the power of three.
            begin = depths[need] if is_critical or last[need] == name else depths[name] - 1
            passed = [heights[need, at] for at in range(begin, depths[name])]
            lines.append(_line(begin, [*passed, heights[name, depths[name]]], is_critical=is_critical))
    # Numbers and words of ours.
    return Graph(
        tuple(
            tuple(by_name[name] if depths[name] == at else None for name in column)
            for at, column in enumerate(columns)
        ),
        Markup(  # noqa: S704
            f'<svg class="lines" viewBox="0 0 {len(columns) * _CELL} {rows * _CELL}" '
            f'preserveAspectRatio="none" aria-hidden="true">{"".join(lines)}</svg>'
        ),
    )


def _columns(needs: Mapping[str, Sequence[str]], depths: Mapping[str, int]) -> list[list[str]]:
    """The names of the jobs in each column, and of those whose lines pass it."""
    columns: list[list[str]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    last = dict(depths)
    for name in needs:
        for need in needs[name]:
            last[need] = max(last[need], depths[name] - 1)
    for name in needs:
        for at in range(depths[name], last[name] + 1):
            columns[at].append(name)
    return columns


def _heights_before(
    name: str,
    at: int,
    needs: Mapping[str, Sequence[str]],
    depths: Mapping[str, int],
    heights: Mapping[tuple[str, int], float],
) -> list[float]:
    """Where that stands or passes, in the column before, from which lines lead here."""
    return [heights[one, at - 1] for one in (needs[name] if depths[name] == at else [name])]


def _line(column: int, heights: Sequence[float], *, is_critical: bool) -> str:
    """The line from where nodes end in a column through the following ones, at the height in each."""
    gap = _CELL - _NODE_END
    path = f"M{column * _CELL + _NODE_END} {heights[0]:g}"
    for at, (y, to_y) in enumerate(pairwise(heights), column + 1):
        end = at * _CELL
        middle = end - gap / 2
        path += f"H{end - gap}C{middle:g} {y:g} {middle:g} {to_y:g} {end} {to_y:g}"
    kind = ' class="critical"' if is_critical else ""
    return f'<path{kind} d="{path}"/>'


def _depths(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many jobs must end one after the other before each begins, those that begin first coming first."""
    depths: dict[str, int] = {}
    for name in TopologicalSorter(needs).static_order():
        depths[name] = max((depths[need] + 1 for need in needs[name]), default=0)
    return depths


def _direct(needs: Mapping[str, Sequence[str]], order: Iterable[str]) -> dict[str, list[str]]:
    """What each job needs, without that which another of its needs waits for already.

    In `order`, no job comes before what it needs. Sets of jobs are bits, because a job may need hundreds.
    """
    bits = {name: 1 << number for number, name in enumerate(needs)}
    above: dict[str, int] = {}
    direct: dict[str, list[str]] = {}
    for name in order:
        indirect = 0
        for need in needs[name]:
            indirect |= above[need]
        direct[name] = [need for need in needs[name] if not bits[need] & indirect]
        above[name] = indirect | sum(bits[need] for need in direct[name])
    return direct


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0
