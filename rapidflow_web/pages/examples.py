"""The example pipelines that come with the server, to begin with."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from rapidflow_web.pipeline import parser
from rapidflow_web.web import assets

_FIRST = "first"
"""The one that builds anywhere: without a repository, and in the default image."""


@dataclass(frozen=True, slots=True)
class Example:
    """A pipeline in a file `name`.yml, whose first line is a comment that says what it is about."""

    name: str
    title: str
    about: str
    text: str


@functools.cache
def every() -> tuple[Example, ...]:
    """The one to run first, then the others by name. Reads a few small files the first time."""
    paths = (assets.folder("examples") / "pipelines").glob("*.yml")
    return tuple(_read(path) for path in sorted(paths, key=_place))


def _place(path: Path) -> tuple[bool, str]:
    return path.stem != _FIRST, path.stem


def _read(path: Path) -> Example:
    text = path.read_text("utf-8")
    title = parser.parse_stored(text, path.stem).name
    about = text.partition("\n")[0].removeprefix("#").strip()
    return Example(path.stem, title, about, text)
