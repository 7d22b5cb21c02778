"""From YAML text to a `Definition`, or to a list of problems that each name their line and column."""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast

import yaml

from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.pipeline import images, repositories
from rapidflow_web.pipeline.definition import Definition, StepDefinition, StepType
from rapidflow_web.pipeline.document import TAG, compose, problem
from rapidflow_web.pipeline.limits import NO_LIMITS, PARSERS, Limits
from rapidflow_web.pipeline.variables import check_env_key, check_env_value, check_secret_name

MAX_STEPS = 500
MAX_NAME = 200
MAX_PATH = 1000
MAX_PROBLEMS = 100

_KINDS = {yaml.ScalarNode: "a value", yaml.SequenceNode: "a list", yaml.MappingNode: "a mapping"}
_SCALARS = {"int": "a number", "float": "a number", "bool": "true or false", "timestamp": "a date"}
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_STEP_TYPES = ("bash", "sh")
_LONGEST_PART = 255
_LONGEST_CACHED = 16_384

T = TypeVar("T")


def parse(
    text: str, file_roots: tuple[str, ...] = (), name: str | None = None, most: Limits = NO_LIMITS
) -> Definition:
    """The pipeline that `text` defines.

    `file_roots` are the folders below which `file://` repositories may lie; `name` serves where the text
    has none; `most` is what limits may be set to. Raises `Invalid` with the problems found, in the order of
    the text, at most `MAX_PROBLEMS`.
    """
    # The same few texts are parsed again and again; long ones are rare, and would take memory.
    parse_one = _parse_cached if len(text) <= _LONGEST_CACHED else _parse
    return parse_one(text, file_roots, name, most)


def _parse(text: str, file_roots: tuple[str, ...], name: str | None, most: Limits) -> Definition:
    reader = _Reader(file_roots, most)
    definition = reader.pipeline(compose(text), name)
    if definition is None or reader.problems:
        problems = sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0))
        raise Invalid(problems[:MAX_PROBLEMS])
    return definition


_parse_cached = functools.lru_cache(maxsize=256)(_parse)


class _Reader:
    def __init__(self, file_roots: tuple[str, ...], most: Limits) -> None:
        self.problems: list[Problem] = []
        self._file_roots = file_roots
        self._most = most
        self._meant: set[str] = set()
        """Fields that probably are there, under a misspelt key."""

    def pipeline(self, root: yaml.Node | None, default_name: str | None) -> Definition | None:
        if root is None or _is_null(root):
            self._note("", None, "the pipeline is empty; it needs at least 'name' and 'steps'")
            return None
        known = (
            "name", "repo_name", "branch", "folder", "language", "version", "image",
            "expose_ports", "network", "new_privileges", "env", "secrets", *PARSERS, "steps",
        )  # fmt: skip
        keys = self._mapping(root, "", "the pipeline", known)
        if keys is None:
            return None
        name = self._text(keys, "name", _check_name) or default_name
        if name is None and not any(problem.field == "name" for problem in self.problems):
            self._note_missing("name", root, "the pipeline needs a 'name'")
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
            "network": self._text(keys, "network", _check_network) is None,
            "new_privileges": self._flag(keys, "new_privileges"),
            "env": self._environment(keys),
            "limits": self._limits(keys),
        }
        values["secrets"] = self._secrets(keys, values["env"], values["expose_ports"])
        if values["expose_ports"] and not values["network"]:
            mark = keys["expose_ports"].start_mark
            self._note(
                "expose_ports", mark, "a build with 'network: none' has no port to publish; take one out"
            )
        steps = self._steps(keys, root)
        return Definition(name=name or "", steps=steps, **values)

    def _steps(self, keys: Mapping[str, yaml.Node], root: yaml.Node) -> tuple[StepDefinition, ...]:
        node = keys.get("steps")
        if node is None or _is_null(node):
            self._note_missing("steps", node or root, "the pipeline needs 'steps'")
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self._note("steps", node.start_mark, f"'steps' must be a list, not {_kind(node)}")
            return ()
        items = cast(list[yaml.Node], node.value)
        if not items:
            self._note("steps", node.start_mark, "'steps' needs at least one step")
        if len(items) > MAX_STEPS:
            self._note(
                "steps", node.start_mark, f"there are {len(items)} steps; at most {MAX_STEPS} can be run"
            )
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
            self._note_missing(f"{field}.content", node, "a step needs 'content', the script to run")
        step_type = self._text(keys, "type", _check_step_type, field)
        name = self._text(keys, "name", _check_name, field)
        files = self._files(keys, field)
        return StepDefinition(content or "", step_type or "bash", name, files)

    def _files(self, keys: Mapping[str, yaml.Node], field: str) -> dict[str, str]:
        files: dict[str, str] = {}
        node = keys.get("files")
        if node is None or _is_null(node):
            return files
        field = f"{field}.files"
        for path, value in (self._mapping(node, field, "'files'", check=_check_file) or {}).items():
            text = self._scalar(value, f"{field}.{path}", f"the file '{_short(path)}'", str, any_scalar=False)
            if text is not None:
                files[path] = text
        # In this order a folder comes right before what is in it.
        for (parts, path), (next_parts, next_path) in itertools.pairwise(
            sorted((PurePosixPath(path).parts, path) for path in files)
        ):
            if parts == next_parts:
                message = f"'{_short(path)}' and '{_short(next_path)}' are the same file"
            elif parts == next_parts[: len(parts)]:
                message = f"'{_short(path)}' can't be a file and a folder at once"
            else:
                continue
            self._note(field, node.start_mark, message)
        return files

    def _environment(self, keys: Mapping[str, yaml.Node]) -> dict[str, str]:
        env: dict[str, str] = {}
        node = keys.get("env")
        if node is None or _is_null(node):
            return env
        for key, value in (self._mapping(node, "env", "'env'", check=check_env_key) or {}).items():
            check = functools.partial(check_env_value, key)
            text = self._scalar(value, f"env.{key}", f"'{key}'", check, any_scalar=True)
            if text is not None:
                env[key] = text
            elif _is_null(value):
                env[key] = ""
        return env

    def _secrets(
        self, keys: Mapping[str, yaml.Node], env: Mapping[str, str], expose_ports: bool
    ) -> tuple[str, ...]:
        """The names of the secrets that the builds are given."""
        node = keys.get("secrets")
        if node is None or _is_null(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self._note(
                "secrets",
                node.start_mark,
                f"'secrets' must be a list of names, not {_kind(node)}; "
                "values are stored with 'rapidflow secret set NAME'",
            )
            return ()
        names: list[str] = []

        def check(name: str) -> str:
            check_secret_name(name)
            if name in names:
                raise ValueError(f"the secret {name} is there twice")
            if name in env:
                raise ValueError(f"{name} is in 'env', too; take it out there, where anybody can read it")
            if name == "PORT" and expose_ports:
                raise ValueError("PORT can't be a secret with 'expose_ports', for the port is shown")
            return name

        for index, item in enumerate(cast(list[yaml.Node], node.value)):
            name = self._scalar(item, f"secrets[{index}]", "the name of a secret", check, any_scalar=False)
            if name is not None:
                names.append(name)
        return tuple(names)

    def _limits(self, keys: Mapping[str, yaml.Node]) -> Limits:
        limits = Limits(
            **{name: self._text(keys, name, parse, any_scalar=True) for name, parse in PARSERS.items()}
        )
        for name, allowed in limits.above(self._most):
            self._note(name, keys[name].start_mark, f"'{name}' may be at most {allowed} on this server")
        return limits

    def _flag(self, keys: Mapping[str, yaml.Node], key: str) -> bool:
        node = keys.get(key)
        if node is None or _is_null(node):
            return False
        flag = _FLAGS.get(str(node.value).lower()) if node.tag == f"{TAG}bool" else None
        if flag is None:
            self._note(key, node.start_mark, f"'{key}' must be true or false")
        return bool(flag)

    def _mapping(
        self,
        node: yaml.Node,
        field: str,
        what: str,
        known: Iterable[str] | None = None,
        check: Callable[[str], object] = str,
    ) -> dict[str, yaml.Node] | None:
        """The node's keys, each once and each known and right; None where it is not a mapping."""
        if not isinstance(node, yaml.MappingNode):
            self._note(
                field, node.start_mark, f"{what} must be a mapping of keys to values, not {_kind(node)}"
            )
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
                self._note(
                    path, mark, f"duplicate key '{_short(key)}', first used in line {first_lines[key]}"
                )
                continue
            first_lines[key] = mark.line + 1
            if known is not None and key not in known:
                meant = _near(key, known)
                self._meant.add(f"{field}.{meant}" if field else meant)
                self._note(path, mark, f"unknown key '{_short(key)}'{_did_you_mean(meant)}")
                continue
            try:
                check(key)
            except ValueError as error:
                self._note(path, mark, str(error))
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
        return self._scalar(
            node, f"{field}.{key}" if field else key, f"'{key}'", check, any_scalar=any_scalar
        )

    def _scalar(
        self,
        node: yaml.Node,
        field: str,
        what: str,
        check: Callable[[str], T],
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
        if node.tag != f"{TAG}str" and not any_scalar:
            kind = _SCALARS.get(node.tag.removeprefix(TAG), "a sign of YAML's own")
            self._note(field, node.start_mark, f"{what} must be text, not {kind}; put it in quotes")
            return None
        try:
            return check(str(node.value))
        except ValueError as error:
            self._note(field, node.start_mark, str(error))
            return None

    def _note(self, field: str, mark: Any, message: str) -> None:
        self.problems.append(problem(field, mark, message))

    def _note_missing(self, field: str, node: yaml.Node, message: str) -> None:
        # Where the key is only misspelt, that is what should be read.
        if field not in self._meant:
            self._note(field, node.start_mark, message)


def _check_name(text: str) -> str:
    if not text.strip():
        raise ValueError("the name must not be empty")
    if len(text) > MAX_NAME:
        raise ValueError(f"the name has {len(text)} characters; at most {MAX_NAME} are taken")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("the name must be one line without control characters")
    return text.strip()


def _check_content(text: str) -> str:
    if not text.strip():
        raise ValueError("a step needs 'content', the script to run")
    if "\0" in text:
        raise ValueError("the script has a NUL character, which no shell can run")
    return text


def _check_step_type(text: str) -> StepType:
    if text not in _STEP_TYPES:
        hint = _did_you_mean(_near(text, _STEP_TYPES)) or "; use bash or sh"
        raise ValueError(f"unknown step type '{_short(text)}'{hint}")
    return text


def _check_network(text: str) -> str:
    if text != "none":
        raise ValueError(
            "'network' can only be none, for a build that is to reach nothing; else leave it out"
        )
    return text


def _check_path(text: str, what: str) -> str:
    """The path, if it stays inside the folder it is relative to."""
    if not text or "\0" in text or "\n" in text:
        raise ValueError(f"the {what} must be a path")
    if len(text) > MAX_PATH:
        raise ValueError(
            f"the {what} '{_short(text)}' has {len(text)} characters; at most {MAX_PATH} are taken"
        )
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        base = "repository" if what == "folder" else "working folder"
        raise ValueError(
            f"the {what} '{_short(text)}' must be inside the {base}; write it relative to it, without '..'"
        )
    if any(len(part.encode()) > _LONGEST_PART for part in path.parts):
        raise ValueError(f"a part of the {what} '{_short(text)}' has more than {_LONGEST_PART} bytes")
    return text


def _check_file(text: str) -> str:
    if not PurePosixPath(_check_path(text, "file")).parts:
        raise ValueError(f"'{_short(text)}' is not the name of a file")
    return text


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{TAG}null"


def _kind(node: yaml.Node) -> str:
    if _is_null(node):
        return "empty"
    return next(name for kind, name in _KINDS.items() if isinstance(node, kind))


def _near(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or an empty one."""
    return next(iter(difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)), "")


def _did_you_mean(word: str) -> str:
    return f", did you mean '{word}'?" if word else ""


def _short(text: str) -> str:
    """The text as one line of bounded length."""
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
