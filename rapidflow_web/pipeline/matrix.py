"""The matrix of a job: with which combinations of values it is built, and where these are filled in."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

MAX_CELLS = 256
"""Combinations of one matrix."""
_MAX_PRODUCT = 10_000
"""Combinations before `exclude`, which are all looked at."""
_PLACE = re.compile(r"\$\{\{[ \t]{0,9}([A-Za-z0-9_.-]{1,100})[ \t]{0,9}\}\}")
_PREFIX = "matrix."

Cell = Mapping[str, str]
"""A combination: the value of each axis by its name."""


def cells(
    axes: Mapping[str, Sequence[str]], include: Sequence[Cell] = (), exclude: Sequence[Cell] = ()
) -> tuple[dict[str, str], ...]:
    """The combinations of a matrix, each once, in the order of the axes and their values.

    An item of `exclude` takes out every combination that has all its values. Then each item of `include`
    adds its other values to the combinations whose values of axes it has; where there are none, it is a
    combination of its own. Raises ValueError where there are none or too many.
    """
    product = math.prod(len(values) for values in axes.values()) if axes else 0
    if product > _MAX_PRODUCT:
        raise ValueError(f"the matrix has {product} combinations; at most {MAX_CELLS} can be built")
    found = (
        [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    )
    found = [cell for cell in found if not any(item.items() <= cell.items() for item in exclude)]
    own: list[dict[str, str]] = []
    extended = [dict(cell) for cell in found]
    for item in include:
        of_axes = {name: value for name, value in item.items() if name in axes}
        fitting = [number for number, cell in enumerate(found) if of_axes.items() <= cell.items()]
        for number in fitting:
            extended[number].update(item)
        if not fitting and dict(item) not in own:
            own.append(dict(item))
    every = extended + own
    if len(every) > MAX_CELLS:
        raise ValueError(f"the matrix has {len(every)} combinations; at most {MAX_CELLS} can be built")
    if not every:
        raise ValueError("the matrix has no combination left; take something out of 'exclude'")
    return tuple(every)


def name_of(job: str, cell: Cell) -> str:
    """What the part of a build is called that builds a job with a combination, e.g. `test (go=1.21)`."""
    return f"{job} ({', '.join(f'{name}={value}' for name, value in cell.items())})" if cell else job


def filled(text: str, cell: Cell, *, others: bool = False) -> str:
    """The text with the values of a combination where it has `${{ matrix.NAME }}`.

    Raises ValueError for another name in `${{ }}`; with `others` such names stay as they are.
    """
    if "${{" not in text:
        return text

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) in cell:
            return cell[name.removeprefix(_PREFIX)]
        if name.startswith(_PREFIX):
            raise ValueError(f"the matrix has no '{name.removeprefix(_PREFIX)}'{_known(cell)}")
        if others:
            return found[0]
        raise ValueError(
            f"'${{{{ {name} }}}}' is not known here, only matrix; scripts read the rest from "
            "variables, such as $RAPIDFLOW_BRANCH"
        )

    after = _PLACE.sub(value, text)
    if not others and "${{" in _PLACE.sub("", text):
        raise ValueError("'${{' needs a name and '}}' after it, as in ${{ matrix.go }}")
    return after


def _known(cell: Cell) -> str:
    return f"; it has {', '.join(cell)}" if cell else ""
