"""From YAML text to a `ParsedPipeline`, or to a list of problems that each name their line and column."""

from __future__ import annotations

import functools
from typing import Any

import yaml

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline import language, repositories
from rapidflow_web.pipeline.build_reader import check_name
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.pipeline.document import compose
from rapidflow_web.pipeline.job_reader import JobReader
from rapidflow_web.pipeline.limits import NO_LIMITS, Limits
from rapidflow_web.pipeline.reader import MAX_PROBLEMS, is_null, within

_NOT_IN_REPOSITORY = {
    "repo_name": "it builds the repository in which it stands",
    "branch": "it builds the commit in which it stands, and 'on' says which branches start builds",
    "new_privileges": "only a pipeline that an administrator stores on the server may",
    "expose_ports": "only a pipeline that an administrator stores on the server may",
}
"""Keys that a definition in a repository can't set, and why."""
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


class _PipelineReader(JobReader):
    def __init__(self, text: str, file_roots: tuple[str, ...], most: Limits, in_repository: bool) -> None:
        super().__init__(text, most)
        self._in_repository = in_repository
        self._file_roots = file_roots

    def pipeline(self, root: yaml.Node | None, default_name: str | None) -> ParsedPipeline | None:
        if root is None or is_null(root):
            self.note("", None, "the pipeline is empty; it needs at least 'name' and 'steps'")
            return None
        keys = self.mapping(root, "", "the pipeline", language.PIPELINE, on="on")
        if keys is None:
            return None
        name = self.text(keys, "name", check_name) or default_name
        if name is None and not any(problem.field == "name" for problem in self.problems):
            self.note_missing("name", root, "the pipeline needs a 'name'")
        values: dict[str, Any] = {
            "labels": self.labels(keys),
            "repo_name": self.text(
                keys, "repo_name", lambda url: repositories.check_url(url, self._file_roots)
            ),
            "branch": self.text(keys, "branch", repositories.check_branch, any_scalar=True),
            **self.container(keys),
            "on": self.on(keys),
            "concurrency": self.concurrency(keys),
            "notify": self.notify(keys),
        }
        values["secrets"] = self.secrets(keys, values["env"], values["expose_ports"])
        if values["expose_ports"] and not values["network"]:
            mark = keys["expose_ports"].start_mark
            self.note(
                "expose_ports", mark, "a build with 'network: none' has no port to publish; take one out"
            )
        if "jobs" in keys:
            values |= self.build_of_jobs(keys, ParsedPipeline(name=name or "", steps=(), **values))
        else:
            values |= self.build(keys, root)
        if self._in_repository:
            self._check_rights(keys)
        return ParsedPipeline(name=name or "", **values)

    def _check_rights(self, keys: dict[str, yaml.Node]) -> None:
        """Refuses what a definition in a repository can't say."""
        for place, found in (("", keys), *self.job_keys.items()):
            for key, reason in _NOT_IN_REPOSITORY.items():
                node = found.get(key)
                if (
                    node is not None
                    and not is_null(node)
                    and str(node.value).lower() not in ("false", "no", "off")
                ):
                    message = f"a definition in a repository can't set '{key}': {reason}"
                    self.note(within(place, key), node.start_mark, message)
