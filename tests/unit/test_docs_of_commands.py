"""The documentation names each command, option and route, and no others."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from rapidflow_web.cli.main import _parser

_TOP = Path(__file__).parent.parent.parent


def _commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each command below a parser that has none of its own, and its options."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        options = {option for action in parser._actions for option in action.option_strings}
        yield name, options - {"-h", "--help"}
    for group in groups:
        for word, sub in group.choices.items():
            yield from _commands(sub, f"{name} {word}".strip())


def test_every_command_is_documented_with_its_options_and_every_documented_one_exists() -> None:
    rows = re.findall(r"^\| `([a-z ]+)` \|(.*)\|.*\|$", (_TOP / "docs/cli.md").read_text(), re.MULTILINE)
    documented = {name: set(re.findall(r"`(--?[a-z-]+)`", options)) for name, options in rows}
    assert documented == dict(_commands(_parser()))


def test_every_route_of_the_api_is_documented_and_every_documented_one_exists() -> None:
    real = {
        f"{method.upper()} {path}"
        for file in (_TOP / "rapidflow_web/api").glob("*.py")
        for method, path in re.findall(r'@blueprint\.([a-z]+)\("([^"]+)"', file.read_text())
    }
    documented = re.findall(r"^\| `([A-Z]+ [^`]+)` \|", (_TOP / "docs/api.md").read_text(), re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == real
