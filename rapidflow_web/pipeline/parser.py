"""From YAML text to a `ParsedPipeline`, or to a list of problems that each name their line and column."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, cast

import yaml

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline import images, language, repositories
from rapidflow_web.pipeline.definition import ParsedPipeline, StepDefinition, StepType
from rapidflow_web.pipeline.document import compose, script_taken_apart
from rapidflow_web.pipeline.limits import NO_LIMITS, PARSERS, Limits
from rapidflow_web.pipeline.reader import MAX_PROBLEMS, is_null, kind_of
from rapidflow_web.pipeline.suggestions import did_you_mean, near, short
from rapidflow_web.pipeline.trigger_reader import TriggerReader
from rapidflow_web.pipeline.variables import check_env_key, check_env_value, check_secret_name

MAX_STEPS = 500
MAX_NAME = 200
MAX_PATH = 1000
MAX_SECRETS = 100

_STEP_TYPES = tuple(language.STEP["type"].values)
_NOT_IN_REPOSITORY = {
    "repo_name": "it builds the repository in which it stands",
    "branch": "it builds the commit in which it stands, and 'on' says which branches start builds",
    "new_privileges": "only a pipeline that an administrator stores on the server may",
    "expose_ports": "only a pipeline that an administrator stores on the server may",
}
"""Keys that a definition in a repository can't set, and why."""
_LONGEST_PART = 255
_LONGEST_CACHED = 16_384


def parse(
    text: str, file_roots: tuple[str, ...] = (), name: str | None = None, most: Limits = NO_LIMITS
) -> ParsedPipeline:
    """The pipeline that `text` defines.

    `file_roots` are the folders below which `file://` repositories may lie; `name` serves where the text
    has none; `most` is what limits may be set to. Raises `Invalid` with the problems found, in the order of
    the text, at most `MAX_PROBLEMS`.
    """
    # The same few texts are parsed again and again; long ones are rare, and would take memory.
    parse_one = _parse_cached if len(text) <= _LONGEST_CACHED else _parse
    return parse_one(text, file_roots, name, most, False)


def parse_in_repository(
    text: str, most: Limits = NO_LIMITS, default_name: str | None = None
) -> ParsedPipeline:
    """As `parse`, for a definition file of a repository: it can't say what is built, or take more rights.

    `default_name` serves where the text has no name. Raises `Invalid`.
    """
    parse_one = _parse_cached if len(text) <= _LONGEST_CACHED else _parse
    return parse_one(text, ("/",), default_name, most, True)


def parse_stored(text: str, name: str) -> ParsedPipeline:
    """The pipeline of a definition that was stored. Raises `Invalid`: an earlier version may have taken it.

    Where its source may come from and which limits it may set was checked then, and is again when it runs.
    """
    return parse(text, ("/",), name)


def _parse(
    text: str, file_roots: tuple[str, ...], name: str | None, most: Limits, in_repository: bool
) -> ParsedPipeline:
    text = text.removeprefix("\ufeff")  # the marks of YAML don't count it
    reader = _PipelineReader(text, file_roots, most, in_repository)
    definition = reader.pipeline(compose(text), name)
    if definition is None or reader.problems:
        problems = sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0))
        raise Invalid(problems[:MAX_PROBLEMS])
    return definition


_parse_cached = functools.lru_cache(maxsize=256)(_parse)


class _PipelineReader(TriggerReader):
    def __init__(self, text: str, file_roots: tuple[str, ...], most: Limits, in_repository: bool) -> None:
        super().__init__(text)
        self._in_repository = in_repository
        self._file_roots = file_roots
        self._most = most

    def pipeline(self, root: yaml.Node | None, default_name: str | None) -> ParsedPipeline | None:
        if root is None or is_null(root):
            self.note("", None, "the pipeline is empty; it needs at least 'name' and 'steps'")
            return None
        keys = self.mapping(root, "", "the pipeline", language.PIPELINE, on="on")
        if keys is None:
            return None
        name = self.text(keys, "name", _check_name) or default_name
        if name is None and not any(problem.field == "name" for problem in self.problems):
            self.note_missing("name", root, "the pipeline needs a 'name'")
        values: dict[str, Any] = {
            "labels": self.labels(keys),
            "repo_name": self.text(
                keys, "repo_name", lambda url: repositories.check_url(url, self._file_roots)
            ),
            "branch": self.text(keys, "branch", repositories.check_branch, any_scalar=True),
            "folder": self.text(keys, "folder", lambda folder: _check_path(folder, "folder")),
            "language": self.text(keys, "language", images.check_language),
            "version": self.text(keys, "version", images.check_version, any_scalar=True),
            "image": self.text(keys, "image", images.check_image),
            "expose_ports": self.flag(keys, "expose_ports"),
            "network": self.text(keys, "network", _check_network) is None,
            "new_privileges": self.flag(keys, "new_privileges"),
            "env": self._environment(keys),
            "limits": self._limits(keys),
            "on": self.on(keys),
            "concurrency": self.concurrency(keys),
            "notify": self.notify(keys),
        }
        values["secrets"] = self._secrets(keys, values["env"], values["expose_ports"])
        if values["expose_ports"] and not values["network"]:
            mark = keys["expose_ports"].start_mark
            self.note(
                "expose_ports", mark, "a build with 'network: none' has no port to publish; take one out"
            )
        if self._in_repository:
            for key, reason in _NOT_IN_REPOSITORY.items():
                if values[key]:
                    message = f"a definition in a repository can't set '{key}': {reason}"
                    self.note(key, keys[key].start_mark, message)
        steps = self._steps(keys, root)
        return ParsedPipeline(name=name or "", steps=steps, **values)

    def _steps(self, keys: Mapping[str, yaml.Node], root: yaml.Node) -> tuple[StepDefinition, ...]:
        node = keys.get("steps")
        if node is None or is_null(node):
            self.note_missing("steps", node or root, "the pipeline needs 'steps'")
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.note(
                "steps",
                node.start_mark,
                f"'steps' must be a list, such as \"- make test\", not {kind_of(node)}",
            )
            return ()
        items = cast(list[yaml.Node], node.value)
        if not items:
            self.note("steps", node.start_mark, "'steps' needs at least one step")
        if len(items) > MAX_STEPS:
            self.note(
                "steps", node.start_mark, f"there are {len(items)} steps; at most {MAX_STEPS} can be run"
            )
            return ()
        steps: list[StepDefinition | None] = []
        for index, item in enumerate(items):
            if len(self.problems) >= MAX_PROBLEMS:
                break
            steps.append(self._step(item, f"steps[{index}]"))
        return tuple(step for step in steps if step is not None)

    def _step(self, node: yaml.Node, field: str) -> StepDefinition | None:
        if isinstance(node, yaml.ScalarNode):
            content = self.scalar(node, field, "a step", _check_content, any_scalar=False, script=True)
            return StepDefinition(content) if content is not None else None
        if (script := script_taken_apart(node)) is not None:
            self.note(
                field,
                node.start_mark,
                f"'{short(script)}' is not a script but a mapping, by the colon in it; put quotes around "
                "all of it, or write it below 'content: |'",
            )
            return None
        if isinstance(node, yaml.SequenceNode) and node.flow_style:
            message = "'[' begins a list; put a script that begins with it in quotes, or write it below '|'"
            self.note(field, node.start_mark, message)
            return None
        keys = self.mapping(node, field, "a step", language.STEP)
        if keys is None:
            return None
        content = self.text(keys, "content", _check_content, field, script=True)
        if "content" not in keys or is_null(keys["content"]):
            self.note_missing(f"{field}.content", node, "a step needs 'content', the script to run")
        step_type = self.text(keys, "type", _check_step_type, field)
        name = self.text(keys, "name", _check_name, field)
        files = self._files(keys, field)
        return StepDefinition(content or "", step_type or "bash", name, files, self.when(keys, field))

    def _files(self, keys: Mapping[str, yaml.Node], field: str) -> dict[str, str]:
        files: dict[str, str] = {}
        node = keys.get("files")
        if node is None or is_null(node):
            return files
        field = f"{field}.files"
        for path, value in (self.mapping(node, field, "'files'", check=_check_file) or {}).items():
            text = self.scalar(value, f"{field}.{path}", f"the file '{short(path)}'", str, any_scalar=False)
            if text is not None:
                files[path] = text
        # In this order a folder comes right before what is in it.
        for (parts, path), (next_parts, next_path) in itertools.pairwise(
            sorted((PurePosixPath(path).parts, path) for path in files)
        ):
            if parts == next_parts:
                message = f"'{short(path)}' and '{short(next_path)}' are the same file"
            elif parts == next_parts[: len(parts)]:
                message = f"'{short(path)}' can't be a file and a folder at once"
            else:
                continue
            self.note(field, node.start_mark, message)
        return files

    def _environment(self, keys: Mapping[str, yaml.Node]) -> dict[str, str]:
        env: dict[str, str] = {}
        node = keys.get("env")
        if node is None or is_null(node):
            return env
        for key, value in (self.mapping(node, "env", "'env'", check=check_env_key) or {}).items():
            check = functools.partial(check_env_value, key)
            text = self.scalar(value, f"env.{key}", f"'{key}'", check, any_scalar=True)
            if text is not None:
                env[key] = text
            elif is_null(value):
                env[key] = str(value.value)
        return env

    def _secrets(
        self, keys: Mapping[str, yaml.Node], env: Mapping[str, str], expose_ports: bool
    ) -> tuple[str, ...]:
        """The names of the secrets that the builds are given."""
        node = keys.get("secrets")
        if node is None or is_null(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.note(
                "secrets",
                node.start_mark,
                f"'secrets' must be a list of names, not {kind_of(node)}; "
                "values are stored with 'rapidflow secret set NAME'",
            )
            return ()
        items = cast(list[yaml.Node], node.value)
        if len(items) > MAX_SECRETS:
            message = f"there are {len(items)} secrets; at most {MAX_SECRETS} can be given to a build"
            self.note("secrets", node.start_mark, message)
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

        for index, item in enumerate(items):
            name = self.scalar(item, f"secrets[{index}]", "the name of a secret", check, any_scalar=False)
            if name is not None:
                names.append(name)
        return tuple(names)

    def _limits(self, keys: Mapping[str, yaml.Node]) -> Limits:
        limits = Limits(
            **{name: self.text(keys, name, parse, any_scalar=True) for name, parse in PARSERS.items()}
        )
        for name, allowed in limits.above(self._most):
            self.note(name, keys[name].start_mark, f"'{name}' may be at most {allowed} on this server")
        return limits


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
        hint = did_you_mean(near(text, _STEP_TYPES)) or "; use bash or sh"
        raise ValueError(f"unknown step type '{short(text)}'{hint}")
    return cast(StepType, text)


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
            f"the {what} '{short(text)}' has {len(text)} characters; at most {MAX_PATH} are taken"
        )
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        base = "repository" if what == "folder" else "working folder"
        raise ValueError(
            f"the {what} '{short(text)}' must be inside the {base}; write it relative to it, without '..'"
        )
    if any(len(part.encode()) > _LONGEST_PART for part in path.parts):
        raise ValueError(f"a part of the {what} '{short(text)}' has more than {_LONGEST_PART} bytes")
    return text


def _check_file(text: str) -> str:
    if not PurePosixPath(_check_path(text, "file")).parts:
        raise ValueError(f"'{short(text)}' is not the name of a file")
    return text
