"""Reads what runs in the container of a build: its image, variables, limits, steps and services."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, cast

import yaml

from rapidflow_web.pipeline import images, language
from rapidflow_web.pipeline.definition import StepDefinition, StepType
from rapidflow_web.pipeline.document import script_taken_apart
from rapidflow_web.pipeline.limits import PARSERS, Limits
from rapidflow_web.pipeline.reader import MAX_PROBLEMS, is_null, kind_of, within
from rapidflow_web.pipeline.suggestions import did_you_mean, near, short
from rapidflow_web.pipeline.trigger_reader import TriggerReader
from rapidflow_web.pipeline.variables import check_env_key, check_env_value, check_secret_name

MAX_STEPS = 500
MAX_NAME = 200
MAX_PATH = 1000
MAX_SECRETS = 100

_STEP_TYPES = tuple(language.STEP["type"].values)
_LONGEST_PART = 255
_MOST_LABELS = 20
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}")
_LONGEST_VALUE = 200


class BuildReader(TriggerReader):
    """Reads these keys, of the pipeline or of a job; see `Reader` for what becomes of what is not right.

    `most` is what limits may be set to.
    """

    def __init__(self, text: str, most: Limits) -> None:
        super().__init__(text)
        self._most = most

    def container(self, keys: Mapping[str, yaml.Node], place: str = "") -> dict[str, Any]:
        """What a container is made of, by the names of `ParsedPipeline`; None where it is not said."""
        return {
            "folder": self.text(keys, "folder", lambda folder: _check_path(folder, "folder"), place),
            "language": self.text(keys, "language", images.check_language, place),
            "version": self.text(keys, "version", images.check_version, place, any_scalar=True),
            "image": self.text(keys, "image", images.check_image, place),
            "expose_ports": self.flag(keys, "expose_ports", place),
            "network": self.text(keys, "network", _check_network, place) is None,
            "new_privileges": self.flag(keys, "new_privileges", place),
            "on_node": self._on_node(keys, place),
            "env": self.environment(keys, place),
            "limits": self.limits(keys, place),
        }

    def steps(
        self, keys: Mapping[str, yaml.Node], root: yaml.Node, place: str = "", what: str = "the pipeline"
    ) -> tuple[StepDefinition, ...]:
        """The steps; `what` needs them, which stands at `root`. `place` is the field that it is in."""
        node, field = keys.get("steps"), within(place, "steps")
        if node is None or is_null(node):
            self.note_missing(field, node or root, f"{what} needs 'steps'")
            return ()
        return self.step_list(node, field)

    def step_list(self, node: yaml.Node, field: str, *, post: bool = False) -> tuple[StepDefinition, ...]:
        """The steps of a list, those that are `post` with that mark."""
        key = field.rpartition(".")[2]
        if not isinstance(node, yaml.SequenceNode):
            message = f"'{key}' must be a list, such as \"- make test\", not {kind_of(node)}"
            self.note(field, node.start_mark, message)
            return ()
        items = cast(list[yaml.Node], node.value)
        if not items:
            self.note(field, node.start_mark, f"'{key}' needs at least one step")
        if len(items) > MAX_STEPS:
            message = f"there are {len(items)} steps; at most {MAX_STEPS} can be run"
            self.note(field, node.start_mark, message)
            return ()
        steps: list[StepDefinition | None] = []
        for index, item in enumerate(items):
            if len(self.problems) >= MAX_PROBLEMS:
                break
            steps.append(self._step(item, f"{field}[{index}]"))
        return tuple(replace(step, post=post) for step in steps if step is not None)

    def _step(self, node: yaml.Node, field: str) -> StepDefinition | None:
        if isinstance(node, yaml.ScalarNode):
            content = self.scalar(node, field, "a step", check_content, any_scalar=False, script=True)
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
        content = self.text(keys, "content", check_content, field, script=True)
        if "content" not in keys or is_null(keys["content"]):
            self.note_missing(f"{field}.content", node, "a step needs 'content', the script to run")
        step_type = self.text(keys, "type", _check_step_type, field)
        name = self.text(keys, "name", check_name, field)
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

    def environment(self, keys: Mapping[str, yaml.Node], place: str = "") -> dict[str, str]:
        """The variables."""
        env: dict[str, str] = {}
        node, field = keys.get("env"), within(place, "env")
        if node is None or is_null(node):
            return env
        for key, value in (self.mapping(node, field, "'env'", check=check_env_key) or {}).items():
            check = functools.partial(check_env_value, key)
            text = self.scalar(value, f"{field}.{key}", f"'{key}'", check, any_scalar=True)
            if text is not None:
                env[key] = text
            elif is_null(value):
                env[key] = str(value.value)
        return env

    def _on_node(self, keys: Mapping[str, yaml.Node], place: str) -> dict[str, str]:
        node, field = keys.get("on_node"), within(place, "on_node")
        if node is None or is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            message = (
                f"'on_node' must be a mapping of labels to values, such as gpu: yes, not {kind_of(node)}"
            )
            self.note(field, node.start_mark, message)
            return {}
        if len(node.value) > _MOST_LABELS:
            message = f"'on_node' has {len(node.value)} labels; at most {_MOST_LABELS} are taken"
            self.note(field, node.start_mark, message)
            return {}
        labels: dict[str, str] = {}
        for name, value in (self.mapping(node, field, "'on_node'", check=_check_label) or {}).items():
            text = self.scalar(
                value, f"{field}.{name}", f"'{name}'", _check_label_value, any_scalar=not is_null(value)
            )
            if text is not None:
                labels[name] = text
        return labels

    def secrets(
        self, keys: Mapping[str, yaml.Node], env: Mapping[str, str], expose_ports: bool, place: str = ""
    ) -> tuple[str, ...]:
        """The names of the secrets that the builds are given."""
        node, field = keys.get("secrets"), within(place, "secrets")
        if node is None or is_null(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.note(
                field,
                node.start_mark,
                f"'secrets' must be a list of names, not {kind_of(node)}; "
                "values are stored with 'rapidflow secret set NAME'",
            )
            return ()
        items = cast(list[yaml.Node], node.value)
        if len(items) > MAX_SECRETS:
            message = f"there are {len(items)} secrets; at most {MAX_SECRETS} can be given to a build"
            self.note(field, node.start_mark, message)
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
            name = self.scalar(item, f"{field}[{index}]", "the name of a secret", check, any_scalar=False)
            if name is not None:
                names.append(name)
        return tuple(names)

    def limits(self, keys: Mapping[str, yaml.Node], place: str = "") -> Limits:
        """What it may use."""
        limits = Limits(
            **{name: self.text(keys, name, parse, place, any_scalar=True) for name, parse in PARSERS.items()}
        )
        for name, allowed in limits.above(self._most):
            self.note(
                within(place, name),
                keys[name].start_mark,
                f"'{name}' may be at most {allowed} on this server",
            )
        return limits


def check_name(text: str) -> str:
    if not text.strip():
        raise ValueError("the name must not be empty")
    if len(text) > MAX_NAME:
        raise ValueError(f"the name has {len(text)} characters; at most {MAX_NAME} are taken")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("the name must be one line without control characters")
    return text.strip()


def check_content(text: str) -> str:
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


def _check_label(text: str) -> None:
    if not _LABEL.fullmatch(text):
        raise ValueError(
            f"'{short(text)}' can't be a label; use up to 100 letters, digits, '_', '-', '.' and '/'"
        )


def _check_label_value(text: str) -> str:
    if not text.isprintable() or len(text) > _LONGEST_VALUE:
        raise ValueError(f"the value of a label must be one line of up to {_LONGEST_VALUE} characters")
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
