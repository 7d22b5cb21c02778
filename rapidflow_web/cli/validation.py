"""The command that checks a definition, and says what an event would mean for it. It asks no server."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rapidflow_web.cli.client import ClientError
from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.forges.shapes import NAMES
from rapidflow_web.pipeline.definition_files import FILE, default_name, is_definition
from rapidflow_web.terminal import note, out

# Importing this where it is used keeps the other commands fast.
if TYPE_CHECKING:
    from rapidflow_web.forges.base import Change
    from rapidflow_web.pipeline.definition import ParsedPipeline

_FAILED = 1


@click.command
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--event", metavar="JSON", type=click.Path(), help="The body of a webhook delivery, in a file.")
@click.option("--forge", type=click.Choice(NAMES), help="The forge that sent it. Default: guessed.")
@click.option("--header", multiple=True, metavar="NAME: VALUE", help="A header of it; can be repeated.")
def validate(file: str, event: str | None, forge: str | None, header: tuple[str, ...]) -> int:
    """Check a pipeline file; - reads standard input.

    With --event, also say whether that delivery would start a build. The files that it changes are not
    known here, so the answer names a filter on paths that they must fit.
    """
    if Path(file).is_dir():
        raise ClientError(f"{file} is a folder; name a file, such as {Path(file) / FILE}")
    name = "standard input" if file == "-" else file
    try:
        _, definition = read_definition(None if file == "-" else Path(file))
    except Invalid as error:
        for problem in error.problems:
            note(f"{name}: {problem.message}")
        return _FAILED
    out(f"{name}: '{definition.name}' is valid, {_size(definition)}")
    if event is not None:
        for sentence in _judged(definition, Path(event), forge, header):
            out(sentence)
    elif definition.on is not None:
        out("Builds are started by people, programs, and")
        for cause in definition.on.described():
            out(f"  {cause}")
    return 0


def _size(definition: ParsedPipeline) -> str:
    """How much there is to do, such as "2 steps", or "3 jobs, 8 parts"."""
    jobs = definition.jobs
    counts = {"job": len(jobs), "part": len(definition.parts)} if jobs else {"step": len(definition.steps)}
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items())


def read_definition(file: Path | None) -> tuple[str, ParsedPipeline]:
    """The pipeline in a file or on standard input, as text and parsed. Raises `Invalid`."""
    from rapidflow_web.pipeline.parser import parse, parse_in_repository

    data = sys.stdin.buffer.read() if file is None else file.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Invalid([Problem("", "this is not a text file in UTF-8")]) from None
    if file is not None and is_definition(file.absolute()):
        return text, parse_in_repository(text, default_name=default_name(file))
    # Which file repositories are allowed is for the server to say.
    return text, parse(text, ("/",))


def _judged(definition: ParsedPipeline, file: Path, forge: str | None, given: Sequence[str]) -> Iterator[str]:
    """What a delivery would mean, in a sentence for each change that it tells of. Raises `ClientError`."""
    from rapidflow_web.forges.base import Unreadable, event_name, read
    from rapidflow_web.forges.guessing import likely_headers

    body = file.read_bytes()
    headers: list[Sequence[str]] = [_header(one) for one in given]
    try:
        if not event_name(headers):
            headers += [*likely_headers(forge, body)]
        found = read(headers, body)
    except Unreadable as error:
        raise ClientError(f"{file}: {error}") from None
    if not found.changes:
        yield f"ignored: {found.reason}"
    for change in found.changes:
        refusal = _refusal(definition, change)
        if refusal is None:
            yield f"{change.ref}: would build{_with_files(definition, change)}"
        else:
            yield f"{change.ref}: ignored: {refusal}"


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise ClientError(f"--header {text!r} is not 'NAME: VALUE'")
    return name.strip(), value.strip()


def _refusal(definition: ParsedPipeline, change: Change) -> str | None:
    """Why a change would not be built, as the server judges it; None where it would."""
    from rapidflow_web.pipeline.triggers import skip_word
    from rapidflow_web.triggers.occurrence import Occurrence

    if change.kind == "delete":
        return "what is deleted can't be built"
    if definition.on is None:
        return "it has no 'on', so only people and programs start it"
    occurrence = Occurrence.of(change, 0, "webhook", replay=False)
    if (refusal := definition.on.refusal(occurrence.facts(definition.name))) is not None:
        return refusal
    # Of a pull request, the title is its own, not that of the commit.
    word = skip_word(change.title or "") if change.kind == "push" else None
    return None if word is None else f"the commit's message has '{word}'"


def _with_files(definition: ParsedPipeline, change: Change) -> str:
    """Which files a change has to touch besides: those that it touches are known only from the repository."""
    on = definition.on
    filters = {"push": on.push, "pull_request": on.pull_request} if on is not None else {}
    named = filters.get(change.kind)
    return "" if named is None or named.paths is None else f" if it changes {named.paths}"
