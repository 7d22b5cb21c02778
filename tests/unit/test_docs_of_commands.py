"""The documentation names each command, option and route, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from rapidflow_web.cli.main import rapidflow

_TOP = Path(__file__).parent.parent.parent


def _commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Each command that has none below it, with its full name."""
    if isinstance(command, click.Group):
        for word, sub in command.commands.items():
            yield from _commands(sub, f"{name} {word}".strip())
    else:
        yield name, command


def _options(command: click.Command) -> set[str]:
    return {word for one in command.params if isinstance(one, click.Option) for word in one.opts}


def _first_paragraph(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def test_documentation_and_help_agree_on_every_command():
    rows = re.findall(r"^\| `([a-z ]+)` \|(.*)\| (.*) \|$", (_TOP / "docs/cli.md").read_text(), re.MULTILINE)
    documented = {name: (set(re.findall(r"`(--?[a-z-]+)`", options)), text) for name, options, text in rows}
    real = {name: (_options(one), _first_paragraph(one)) for name, one in _commands(rapidflow)}
    assert documented == real


def test_every_route_of_the_api_is_documented_and_every_documented_one_exists() -> None:
    real = {
        f"{method.upper()} {path}"
        for file in (_TOP / "rapidflow_web/api").glob("*.py")
        for method, path in re.findall(r'@blueprint\.([a-z]+)\("([^"]+)"', file.read_text())
    }
    documented = re.findall(r"^\| `([A-Z]+ [^`]+)` \|", (_TOP / "docs/api.md").read_text(), re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == real
