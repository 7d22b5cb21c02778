"""Definition files: `.rapidflow.yml`, or all of `.rapidflow/*.yml`, at one commit of a repository."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rapidflow_web.db.models import Pipeline
from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline import parser
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.pipeline.definition_files import FILE, FOLDER, WRONG_NAME, default_name, is_definition
from rapidflow_web.settings import Settings
from rapidflow_web.source import history
from rapidflow_web.source.history import Entry, TooManyEntries

MAX_FILES = 100
"""Definition files of one repository."""
MAX_SIZE = 256 * 1024
"""Bytes of one."""
_LINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True)
class DefinitionFile:
    """A definition file at one commit: its text and what that means, or else the `problem` in a sentence.

    A problem `of_all` leaves unknown which definitions there are.
    """

    path: str
    text: str = ""
    parsed: ParsedPipeline | None = None
    problem: str | None = None
    of_all: bool = False

    @property
    def refusal(self) -> str:
        """The problem, which names the file."""
        problem = self.problem or ""
        return problem if problem.startswith(self.path) else f"{self.path}: {problem}"


def matched(
    stored: Sequence[Pipeline], files: Sequence[DefinitionFile]
) -> tuple[list[tuple[Pipeline, DefinitionFile | None]], list[DefinitionFile]]:
    """Each pipeline of a repository with its file, and the files that are of none.

    A file is a pipeline's by its path, else by its name: then it was renamed.
    """
    left = {file.path: file for file in files}
    of_all = next((file for file in files if file.of_all), None)
    found: list[tuple[Pipeline, DefinitionFile | None]] = [
        (pipeline, left.pop(pipeline.path)) for pipeline in stored if pipeline.path in left
    ]
    of_paths = {pipeline.path for pipeline, _ in found}
    for pipeline in stored:
        if pipeline.path in of_paths:
            continue
        renamed = [one for one in left.values() if one.parsed and one.parsed.name == pipeline.definition.name]
        found.append((pipeline, left.pop(renamed[0].path) if renamed else of_all))
    return found, list(left.values())


async def read(mirror: Path, commit: str, settings: Settings) -> list[DefinitionFile]:
    """The definition files of a commit in a mirror, by path; those that are not valid with their problem.

    Raises `GitError`.
    """
    try:
        entries = await history.entries(mirror, commit, FILE, WRONG_NAME, FOLDER, f"{FOLDER}/")
    except TooManyEntries:
        return _of_all(FOLDER, f"{FOLDER}/ has too many files; at most {MAX_FILES} can be used")
    odd = [entry for entry in entries if entry.path == FOLDER]
    if odd:
        return _of_all(FOLDER, f"{FOLDER} {_is_no_folder(odd[0])}; make it a folder")
    chosen = [entry for entry in entries if is_definition(PurePosixPath(entry.path))]
    if not chosen and any(entry.path == WRONG_NAME for entry in entries):
        return _of_all(WRONG_NAME, f"a definition outside of {FOLDER}/ must be named {FILE}")
    if len(chosen) > 1 and any(entry.path == FILE for entry in chosen):
        return _of_all(FILE, f"there are both {FILE} and files in {FOLDER}/; keep the one or the other")
    if len(chosen) > MAX_FILES:
        said = f"{FOLDER}/ has {len(chosen)} definition files; at most {MAX_FILES} can be used"
        return _of_all(FOLDER, said)
    problems = {entry.path: _problem_before(entry) for entry in chosen}
    readable = [entry for entry in chosen if problems[entry.path] is None]
    contents = await history.contents(mirror, readable)
    # Whoever wrote them may have made them slow to read.
    parsed = {
        entry.path: await asyncio.to_thread(_file, entry.path, content, settings)
        for entry, content in zip(readable, contents, strict=True)
    }
    files = [parsed.get(path) or DefinitionFile(path, problem=problem) for path, problem in problems.items()]
    return _with_repeated_names(files)


async def read_one(mirror: Path, commit: str, path: str, settings: Settings) -> DefinitionFile | None:
    """The definition file at `path`; None where the commit has none. Raises `GitError`."""
    files = await read(mirror, commit, settings)
    return next((file for file in files if file.of_all or file.path == path), None)


def _of_all(path: str, problem: str) -> list[DefinitionFile]:
    return [DefinitionFile(path, problem=problem, of_all=True)]


def _problem_before(entry: Entry) -> str | None:
    """Why a file is not read at all."""
    if entry.mode in (_LINK, _SUBMODULE) or entry.size is None:
        return f"{entry.path} {_is_no_file(entry)}; make it a file"
    if entry.size > MAX_SIZE:
        return f"{entry.path} has {entry.size} bytes; a definition may have {MAX_SIZE // 1024} KiB"
    return None


def _file(path: str, content: bytes, settings: Settings) -> DefinitionFile:
    try:
        text = content.decode()
    except ValueError:
        return DefinitionFile(path, problem=f"{path} is not valid UTF-8")
    try:
        parsed = parser.parse_in_repository(text, settings.most_limits, default_name(PurePosixPath(path)))
    except Invalid as error:
        return DefinitionFile(path, text, problem=problem_of(error))
    return DefinitionFile(path, text, parsed)


def problem_of(error: Invalid) -> str:
    """What is wrong with a definition, in one line that begins with where."""
    first, *more = error.problems
    where = f"line {first.line}, column {first.column}: " if first.line is not None else ""
    rest = f" (and {len(more)} more problem{'s' * (len(more) != 1)})" if more else ""
    return f"{where}{first.message.removeprefix(where)}{rest}"


def _with_repeated_names(files: Sequence[DefinitionFile]) -> list[DefinitionFile]:
    """The files; of those that have the same name only the first is right."""
    first: dict[str, str] = {}
    found: list[DefinitionFile] = []
    for file in files:
        name = file.parsed.name if file.parsed is not None else None
        if name is not None and name in first:
            problem = f"{first[name]} already uses the name '{name}'; names must be unique"
            found.append(DefinitionFile(file.path, file.text, problem=problem))
            continue
        if name is not None:
            first[name] = file.path
        found.append(file)
    return found


def _is_no_folder(entry: Entry) -> str:
    return (
        "is a link" if entry.mode == _LINK else "is a file" if entry.mode != _SUBMODULE else "is a submodule"
    )


def _is_no_file(entry: Entry) -> str:
    return "is a link" if entry.mode == _LINK else "is a submodule"
