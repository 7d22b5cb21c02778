"""From YAML text to a `Definition`, or to a list of problems that each name their line and column.

Works on YAML's node tree rather than on Python values: a node knows where it stands, and `version: 1.20`
is still "1.20" there.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar, cast

import yaml

from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.pipeline import images, repositories
from rapidflow_web.pipeline.definition import Definition, StepDefinition, StepType
from rapidflow_web.pipeline.durations import parse_duration

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML without libyaml
    from yaml import SafeLoader as _Loader

MAX_DEPTH = 20
MAX_NODES = 20_000
MAX_STEPS = 500
MAX_NAME = 200
MAX_TIMEOUT = 7 * 24 * 3600

_TAG = "tag:yaml.org,2002:"
_KINDS = {yaml.ScalarNode: "a value", yaml.SequenceNode: "a list", yaml.MappingNode: "a mapping"}
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STEP_TYPES = ("bash", "sh")

T = TypeVar("T")


@functools.lru_cache(maxsize=256)
def parse(text: str, file_roots: tuple[str, ...] = (), name: str | None = None) -> Definition:
    """The pipeline that `text` defines.

    `file_roots` are the folders below which `file://` repositories may lie; `name` serves where the text
    has none. Raises `Invalid` with all problems found, in the order of the text.
    """
    reader = _Reader(file_roots)
    definition = reader.pipeline(reader.load(text), name)
    if definition is None or reader.problems:
        raise Invalid(sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return definition


class _Stop(Exception):
    """The text is of no use beyond the problem that was just noted."""


class _Reader:
    def __init__(self, file_roots: tuple[str, ...]) -> None:
        self.problems: list[Problem] = []
        self._file_roots = file_roots

    def load(self, text: str) -> yaml.Node | None:
        """The root node, or None after a problem was noted."""
        try:
            self._check_size(text)
            return cast(yaml.Node | None, yaml.compose(text, Loader=_Loader))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._note("", mark, f"this is not YAML: {error.problem or error.context}")
        except yaml.YAMLError as error:
            self._note("", None, f"this is not YAML: {_one_line(str(error))}")
        except UnicodeEncodeError:
            self._note("", None, "this is not YAML: it has characters that are not valid Unicode")
        except _Stop:
            pass
        return None

    def _check_size(self, text: str) -> None:
        """Refuses what would take very long or very deep to compose, from the events alone."""
        depth = nodes = 0
        sizes: dict[str, int] = {}
        open_anchors: list[tuple[str | None, int]] = []
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                # An alias counts for all that it stands for; one inside its own anchor is not known yet.
                if event.anchor not in sizes:
                    self._note("", event.start_mark, f"the alias '*{event.anchor}' has no anchor before it")
                    raise _Stop
                nodes += sizes[event.anchor]
            elif isinstance(event, yaml.ScalarEvent):
                nodes += 1
                if event.anchor:
                    sizes[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                nodes += 1
                depth += 1
                open_anchors.append((event.anchor, nodes - 1))
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                anchor, before = open_anchors.pop()
                if anchor:
                    sizes[anchor] = nodes - before
            if depth > MAX_DEPTH:
                self._note("", event.start_mark, f"this is nested more than {MAX_DEPTH} levels deep")
                raise _Stop
            if nodes > MAX_NODES:
                self._note("", event.start_mark, f"this has more than {MAX_NODES} values, aliases resolved")
                raise _Stop

    def pipeline(self, root: yaml.Node | None, default_name: str | None) -> Definition | None:
        if root is None:
            if not self.problems:
                self._note("", None, "the pipeline is empty; it needs at least 'name' and 'steps'")
            return None
        known = (
            "name", "repo_name", "branch", "folder", "language", "version", "image",
            "expose_ports", "env", "timeout", "steps",
        )  # fmt: skip
        keys = self._mapping(root, "", "the pipeline", known)
        if keys is None:
            return None
        name = self._text(keys, "name", self._name) or default_name
        if name is None and not any(problem.field == "name" for problem in self.problems):
            self._note("name", root.start_mark, "the pipeline needs a 'name'")
        values: dict[str, Any] = {
            "repo_name": self._text(
                keys, "repo_name", lambda url: repositories.check_url(url, self._file_roots)
            ),
            "branch": self._text(keys, "branch", repositories.check_branch, any_scalar=True),
            "folder": self._text(keys, "folder", lambda folder: _check_path(folder, "folder")),
            "language": self._text(keys, "language", images.check_language),
            "version": self._text(keys, "version", images.check_version, any_scalar=True),
            "image": self._text(keys, "image", images.check_image),
            "expose_ports": self._flag(keys, "expose_ports"),
            "env": self._environment(keys),
            "timeout": self._text(keys, "timeout", _timeout, any_scalar=True),
        }
        steps = self._steps(keys, root)
        return Definition(name=name or "", steps=steps, **values)

    def _steps(self, keys: Mapping[str, yaml.Node], root: yaml.Node) -> tuple[StepDefinition, ...]:
        node = keys.get("steps")
        if node is None or _is_null(node):
            self._note("steps", node.start_mark if node else root.start_mark, "the pipeline needs 'steps'")
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self._note("steps", node.start_mark, f"'steps' must be a list, not {_kind(node)}")
            return ()
        items = cast(list[yaml.Node], node.value)
        if not items:
            self._note("steps", node.start_mark, "'steps' needs at least one step")
        if len(items) > MAX_STEPS:
            self._note("steps", node.start_mark, f"there are {len(items)} steps; at most {MAX_STEPS} can be run")
            return ()
        steps = [self._step(item, f"steps[{index}]") for index, item in enumerate(items)]
        return tuple(step for step in steps if step is not None)

    def _step(self, node: yaml.Node, field: str) -> StepDefinition | None:
        if isinstance(node, yaml.ScalarNode):
            content = self._scalar(node, field, "a step", _check_content, any_scalar=False)
            return StepDefinition(content) if content is not None else None
        keys = self._mapping(node, field, "a step", ("type", "name", "content", "files"))
        if keys is None:
            return None
        content = self._text(keys, "content", _check_content, field)
        if "content" not in keys or _is_null(keys["content"]):
            self._note(f"{field}.content", node.start_mark, "a step needs 'content', the script to run")
        step_type = self._text(keys, "type", _check_step_type, field)
        name = self._text(keys, "name", self._name, field)
        files = self._files(keys, field)
        return StepDefinition(content or "", step_type or "bash", name, files)

    def _files(self, keys: Mapping[str, yaml.Node], field: str) -> dict[str, str]:
        files: dict[str, str] = {}
        node = keys.get("files")
        if node is None or _is_null(node):
            return files
        for path, value in (self._mapping(node, f"{field}.files", "'files'", None) or {}).items():
            try:
                _check_path(path, "file")
                if PurePosixPath(path) == PurePosixPath("."):
                    raise ValueError(f"{path!r} is not the name of a file")
            except ValueError as error:
                self._note(f"{field}.files", value.start_mark, str(error))
                continue
            text = self._scalar(value, f"{field}.files.{path}", f"the file {path!r}", any_scalar=False)
            if text is not None:
                files[path] = text
        paths = {PurePosixPath(path) for path in files}
        for path in paths:
            if folder := next((parent for parent in path.parents if parent in paths), None):
                self._note(f"{field}.files", node.start_mark, f"'{folder}' can't be a file and a folder at once")
        return files

    def _environment(self, keys: Mapping[str, yaml.Node]) -> dict[str, str]:
        env: dict[str, str] = {}
        node = keys.get("env")
        if node is None or _is_null(node):
            return env
        for key, value in (self._mapping(node, "env", "'env'", None) or {}).items():
            try:
                check_env_key(key)
            except ValueError as error:
                self._note("env", value.start_mark, str(error))
                continue
            text = self._scalar(value, f"env.{key}", f"'{key}'", _check_no_nul, any_scalar=True)
            if text is not None:
                env[key] = text
            elif _is_null(value):
                env[key] = ""
        return env

    def _flag(self, keys: Mapping[str, yaml.Node], key: str) -> bool:
        node = keys.get(key)
        if node is None or _is_null(node):
            return False
        if node.tag != f"{_TAG}bool":
            self._note(key, node.start_mark, f"'{key}' must be true or false")
            return False
        return str(node.value).lower() in ("true", "yes", "on")

    def _name(self, text: str) -> str:
        if not text.strip():
            raise ValueError("the name must not be empty")
        if len(text) > MAX_NAME:
            raise ValueError(f"the name has {len(text)} characters; at most {MAX_NAME} are taken")
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            raise ValueError("the name must be one line without control characters")
        return text.strip()

    def _mapping(
        self, node: yaml.Node, field: str, what: str, known: Iterable[str] | None
    ) -> dict[str, yaml.Node] | None:
        """The node's keys, each once and each known; None where it is not a mapping."""
        if not isinstance(node, yaml.MappingNode):
            self._note(field, node.start_mark, f"{what} must be a mapping of keys to values, not {_kind(node)}")
            return None
        keys: dict[str, yaml.Node] = {}
        first_lines: dict[str, int] = {}
        for key_node, value in cast(list[tuple[yaml.Node, yaml.Node]], node.value):
            mark = key_node.start_mark
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(field, mark, f"a key must be text, not {_kind(key_node)}")
                continue
            key = str(key_node.value)
            path = f"{field}.{key}" if field else key
            if key in first_lines:
                self._note(path, mark, f"duplicate key '{key}', first used in line {first_lines[key]}")
                continue
            first_lines[key] = mark.line + 1
            if known is not None and key not in known:
                self._note(path, mark, f"unknown key '{_short(key)}'{_did_you_mean(key, known)}")
                continue
            keys[key] = value
        return keys

    def _text(
        self,
        keys: Mapping[str, yaml.Node],
        key: str,
        check: Callable[[str], T],
        field: str = "",
        *,
        any_scalar: bool = False,
    ) -> T | None:
        node = keys.get(key)
        if node is None or _is_null(node):
            return None
        return self._scalar(node, f"{field}.{key}" if field else key, f"'{key}'", check, any_scalar=any_scalar)

    def _scalar(
        self,
        node: yaml.Node,
        field: str,
        what: str,
        check: Callable[[str], T] = cast(Callable[[str], T], str),
        *,
        any_scalar: bool,
    ) -> T | None:
        """The node's text after `check`, or None after a problem was noted (or for null).

        With `any_scalar` numbers, dates and booleans are taken as they are written.
        """
        if not isinstance(node, yaml.ScalarNode):
            self._note(field, node.start_mark, f"{what} must be text, not {_kind(node)}")
            return None
        if _is_null(node):
            if not any_scalar:
                self._note(field, node.start_mark, f"{what} must be text, and nothing is there")
            return None
        if node.tag != f"{_TAG}str" and not (any_scalar and node.tag.startswith(_TAG)):
            kind = node.tag.removeprefix(_TAG)
            self._note(field, node.start_mark, f"{what} must be text, not {kind}; put it in quotes")
            return None
        text = str(node.value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self._note(field, node.start_mark, f"{what} has characters that are not valid Unicode")
            return None
        try:
            return check(text)
        except ValueError as error:
            self._note(field, node.start_mark, str(error))
            return None

    def _note(self, field: str, mark: Any, message: str) -> None:
        if mark is None:
            self.problems.append(Problem(field, message))
            return
        line, column = mark.line + 1, mark.column + 1
        self.problems.append(Problem(field, f"line {line}, column {column}: {message}", line, column))


def check_env_key(key: str) -> str:
    """The key, if a shell can export it. Raises ValueError."""
    if not _ENV_KEY.fullmatch(key):
        raise ValueError(
            f"{_short(key)!r} is not the name of a variable; use letters, digits and _, a digit not first"
        )
    return key


def check_env_value(key: str, value: str) -> str:
    """The value, if a process can be given it. Raises ValueError."""
    if "\0" in value:
        raise ValueError(f"the value of {key} has a NUL character, which no process can be given")
    return value


def _check_no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("the value has a NUL character, which no process can be given")
    return text


def _check_content(text: str) -> str:
    if not text.strip():
        raise ValueError("a step needs 'content', the script to run")
    if "\0" in text:
        raise ValueError("the script has a NUL character, which no shell can run")
    return text


def _check_step_type(text: str) -> StepType:
    if text not in _STEP_TYPES:
        raise ValueError(f"unknown step type '{_short(text)}'{_did_you_mean(text, _STEP_TYPES) or '; use bash or sh'}")
    return cast(Literal["bash", "sh"], text)


def _check_path(text: str, what: str) -> str:
    """The path, if it stays inside the folder it is relative to."""
    path = PurePosixPath(text)
    if not text or "\0" in text or "\n" in text:
        raise ValueError(f"the {what} must be a path")
    if path.is_absolute() or ".." in path.parts:
        base = "repository" if what == "folder" else "working folder"
        raise ValueError(f"the {what} '{_short(text)}' must be inside the {base}; write it relative to it, without '..'")
    return text


def _timeout(text: str) -> int:
    seconds = parse_duration(text)
    if seconds > MAX_TIMEOUT:
        raise ValueError("the timeout must be at most 168h")
    return seconds


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"


def _kind(node: yaml.Node) -> str:
    return "empty" if _is_null(node) else _KINDS[type(node)]


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else ""


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
