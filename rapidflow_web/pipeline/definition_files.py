"""Where definitions stand in a repository: `.rapidflow.yml`, or all of `.rapidflow/*.yml`."""

from __future__ import annotations

from pathlib import PurePath

FILE = ".rapidflow.yml"
WRONG_NAME = ".rapidflow.yaml"
"""What people call `FILE` by mistake."""
FOLDER = ".rapidflow"
_ENDINGS = (".yml", ".yaml")


def is_definition(path: PurePath) -> bool:
    """Whether a file is one, by the end of its path."""
    return path.name == FILE or (path.parent.name == FOLDER and path.name.endswith(_ENDINGS))


def default_name(path: PurePath) -> str:
    """What a pipeline is called whose definition file does not name it."""
    return path.stem.removeprefix(".")
