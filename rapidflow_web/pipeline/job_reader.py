"""Reads `jobs`: what runs in several containers, in which order and under which conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import yaml

from rapidflow_web.pipeline import conditions, language, matrix
from rapidflow_web.pipeline.definition import (
    AllowFailure,
    JobDefinition,
    Need,
    ParsedPipeline,
    Part,
    Retry,
    StepDefinition,
)
from rapidflow_web.pipeline.limits import Limits, parse_timeout
from rapidflow_web.pipeline.matrix import Cell
from rapidflow_web.pipeline.reader import MAX_PROBLEMS, is_null, kind_of, within
from rapidflow_web.pipeline.service_reader import ServiceReader, whole_number
from rapidflow_web.pipeline.suggestions import did_you_mean, near, short

MAX_PARTS = 500
"""Parts of a build."""
_MAX_READ = 20_000
"""Values that are read in all, counted for each combination of a matrix."""
_MAX_VALUES = 256
_LONGEST_VALUE = 200
_MAX_CODES = 50
_MAX_RETRIES = 10
_PRIORITIES = range(-100, 101)
_POST = 300
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_CAUSES = tuple(language.RETRY["when"].values)


class JobReader(ServiceReader):
    """Reads `jobs` and `post`; see `Reader` for what becomes of what is not right."""

    def __init__(self, text: str, most: Limits) -> None:
        super().__init__(text, most)
        self.job_keys: dict[str, dict[str, yaml.Node]] = {}
        """The keys of each job, by the field in which it stands."""
        self._read = 0

    def build(self, keys: Mapping[str, yaml.Node], root: yaml.Node) -> dict[str, Any]:
        """What a pipeline without `jobs` runs, by the names of `ParsedPipeline`."""
        return {
            "steps": self.steps(keys, root) + self._post(keys, ""),
            "services": self.services(keys, ""),
            "post_timeout": self._post_timeout(keys, "") or _POST,
        }

    def build_of_jobs(self, keys: Mapping[str, yaml.Node], defaults: ParsedPipeline) -> dict[str, Any]:
        """What a pipeline with `jobs` runs; `defaults` has what holds for all of them."""
        nothing: dict[str, Any] = {"steps": ()}
        if "steps" in keys:
            self.note(
                "steps", keys["steps"].start_mark, "a pipeline has 'steps' or 'jobs'; move 'steps' into a job"
            )
        defaults = replace(
            defaults,
            steps=self._post(keys, ""),
            services=self.services(keys, ""),
            post_timeout=self._post_timeout(keys, "") or _POST,
        )
        node = keys["jobs"]
        if not isinstance(node, yaml.MappingNode):
            self.note(
                "jobs", node.start_mark, f"'jobs' must be a mapping of names to jobs, not {kind_of(node)}"
            )
            return nothing
        found = self.mapping(node, "jobs", "'jobs'", check=_check_name) or {}
        if not found and not node.value:
            self.note("jobs", node.start_mark, "'jobs' needs at least one job")
        jobs = [self._job(name, one, defaults) for name, one in found.items()]
        jobs = [job for job in jobs if job is not None]
        parts = sum(len(job.parts) for job in jobs)
        if parts > MAX_PARTS:
            self.note(
                "jobs", node.start_mark, f"the build has {parts} parts; at most {MAX_PARTS} can be built"
            )
        self._check_needs(found)
        return {**nothing, "jobs": tuple(jobs)}

    # One job

    def _job(self, name: str, node: yaml.Node, defaults: ParsedPipeline) -> JobDefinition | None:
        place = f"jobs.{name}"
        if len(self.problems) >= MAX_PROBLEMS:
            return None
        keys = self.mapping(node, place, f"the job '{name}'", language.JOB)
        if keys is None:
            return None
        self.job_keys[place] = keys
        cells = self._matrix(keys, place)
        if cells is None:
            return None
        names = [matrix.name_of(name, cell) for cell in cells]
        if twice := next((one for one in names if names.count(one) > 1), None):
            message = f"two combinations have the name '{short(twice)}'; change one of their values"
            self.note(f"{place}.matrix", keys["matrix"].start_mark, message)
            return None
        # Of a matrix, only its combinations count.
        size = _size(node) - (_size(keys["matrix"]) if "matrix" in keys else 0)
        if (self._read + size * len(cells)) > _MAX_READ:
            message = f"with all combinations of matrices the jobs have more than {_MAX_READ} values"
            self.note(place, node.start_mark, message)
            return None
        self._read += size * len(cells)
        parts: list[Part] = []
        for cell in cells:
            if len(self.problems) >= MAX_PROBLEMS:
                break
            self.cell = cell
            build = self._build(keys, place, node, defaults)
            concurrency = self.concurrency(keys, place)
            if concurrency is not None and concurrency.when_busy != "queue":
                message = "the parts of builds can only wait for each other; leave 'when_busy' out"
                self.note(f"{place}.concurrency", keys["concurrency"].start_mark, message)
            parts.append(Part(matrix.name_of(name, cell), cell, build, concurrency))
        self.cell = None
        axes = frozenset(axis for cell in cells for axis in cell)
        return JobDefinition(
            name,
            tuple(parts),
            needs=self._needs(keys, place),
            max_parallel=self._number(keys, "max_parallel", place, range(1, matrix.MAX_CELLS + 1)),
            fail_fast=self.flag(keys, "fail_fast", place),
            condition=self.text(
                keys, "if", lambda text: conditions.parse(text, axes), place, any_scalar=True
            ),
            retry=self._retry(keys, place),
            allow_failure=self._allow_failure(keys, place),
            approval=self.flag(keys, "approval", place),
            priority=self._number(keys, "priority", place, _PRIORITIES) or 0,
        )

    def _build(
        self, keys: Mapping[str, yaml.Node], place: str, root: yaml.Node, defaults: ParsedPipeline
    ) -> ParsedPipeline:
        """What the containers of a part run: what the job says, and the pipeline's where it says nothing."""
        said = self.container(keys, place)
        values = {
            key: said[key]
            for key in ("folder", "expose_ports", "network", "new_privileges", "on_node")
            if key in keys
        }
        if "image" in keys or "language" in keys or "version" in keys:
            # They choose an image together, so that none of them comes from elsewhere.
            values |= {key: said[key] for key in ("language", "version", "image")}
            if said["language"] is None and said["image"] is None:
                values["language"] = defaults.language
        limits = {name: value for name, value in said["limits"].items() if value is not None}
        values["limits"] = replace(defaults.limits, **limits)
        values["env"] = {**defaults.env, **said["env"]}
        values["secrets"] = defaults.secrets
        exposes = values.get("expose_ports", defaults.expose_ports)
        if "secrets" in keys:
            values["secrets"] = self.secrets(keys, values["env"], exposes, place)
        elif twice := next((name for name in defaults.secrets if name in said["env"]), None):
            self.note(
                f"{place}.env",
                keys["env"].start_mark,
                f"{twice} is in 'secrets' of the pipeline; take it out here",
            )
        if exposes and not values.get("network", defaults.network):
            message = "a build with 'network: none' has no port to publish; take one out"
            self.note(place, root.start_mark, message)
        post = self._post(keys, place) if "post" in keys else defaults.steps
        values["steps"] = self.steps(keys, root, place, f"the job '{place.partition('.')[2]}'") + post
        values["services"] = self.services(keys, place) if "services" in keys else defaults.services
        values["post_timeout"] = self._post_timeout(keys, place) or defaults.post_timeout
        return replace(defaults, **values, on=None, notify=(), concurrency=None, labels=())

    def _post(self, keys: Mapping[str, yaml.Node], place: str) -> tuple[StepDefinition, ...]:
        node = keys.get("post")
        if node is None or is_null(node):
            return ()
        return self.step_list(node, within(place, "post"), post=True)

    def _post_timeout(self, keys: Mapping[str, yaml.Node], place: str) -> int | None:
        return self.text(keys, "post_timeout", parse_timeout, place, any_scalar=True)

    # The matrix

    def _matrix(self, keys: Mapping[str, yaml.Node], place: str) -> tuple[Cell, ...] | None:
        """The combinations; a single empty one where there is no matrix, None for one that is not right."""
        node, field = keys.get("matrix"), f"{place}.matrix"
        if node is None or is_null(node):
            return ({},)
        found = self.mapping(node, field, "'matrix'", check=_check_axis)
        if found is None:
            return None
        problems = len(self.problems)
        axes: dict[str, tuple[str, ...]] = {}
        for name, value in found.items():
            if name in ("include", "exclude"):
                continue
            values = self._list(value, f"{field}.{name}", f"'{name}'", _check_value, "values", _MAX_VALUES)
            if len(set(values)) < len(values):
                twice = next(one for one in values if values.count(one) > 1)
                self.note(f"{field}.{name}", value.start_mark, f"'{short(twice)}' is there twice in '{name}'")
            axes[name] = values
        include, exclude = self._cells(found, "include", field), self._cells(found, "exclude", field)
        for item in exclude:
            for name in item:
                if name not in axes:
                    message = f"the matrix has no '{short(name)}' that could be excluded"
                    self.note(f"{field}.exclude", found["exclude"].start_mark, message)
        if len(self.problems) > problems:
            return None
        try:
            return matrix.cells(axes, include, exclude)
        except ValueError as error:
            self.note(field, node.start_mark, str(error))
            return None

    def _cells(self, keys: Mapping[str, yaml.Node], key: str, place: str) -> list[Cell]:
        found: list[Cell] = []
        for item, field in self._items(keys, key, place, _MAX_VALUES, "items"):
            values = self.mapping(item, field, f"an item of '{key}'", check=_check_axis) or {}
            texts = {
                name: self.scalar(
                    value, f"{field}.{name}", f"'{name}'", _check_value, any_scalar=not is_null(value)
                )
                for name, value in values.items()
            }
            found.append({name: text for name, text in texts.items() if text is not None})
        return found

    # What decides when it runs, and what its end means

    def _needs(self, keys: Mapping[str, yaml.Node], place: str) -> tuple[Need, ...]:
        node, field = keys.get("needs"), f"{place}.needs"
        if node is None or is_null(node):
            return ()
        items = cast(list[yaml.Node], node.value) if isinstance(node, yaml.SequenceNode) else [node]
        found: list[Need] = []
        for item in items:
            if isinstance(item, yaml.MappingNode):
                values = self.mapping(item, field, "an item of 'needs'", language.NEED) or {}
                job = self.text(values, "job", str, field)
                if job is None and "job" not in values:
                    self.note_missing(f"{field}.job", item, "an item of 'needs' needs 'job', the name of one")
                optional = self.flag(values, "optional", field)
            else:
                job, optional = (
                    self.scalar(item, field, "an item of 'needs'", str, any_scalar=not is_null(item)),
                    False,
                )
            if job is not None and any(job == need.job for need in found):
                self.note(field, item.start_mark, f"'{short(job)}' is there twice in 'needs'")
            elif job is not None:
                found.append(Need(job, optional))
        return tuple(found)

    def _check_needs(self, jobs: Mapping[str, yaml.Node]) -> None:
        """Notes needs that are not there, and jobs that would wait for themselves."""
        needs = {name: self._needs(self.job_keys.get(f"jobs.{name}", {}), f"jobs.{name}") for name in jobs}
        known = True
        for name, found in needs.items():
            for need in found:
                if need.job not in jobs:
                    known = False
                    node = self.job_keys[f"jobs.{name}"]["needs"]
                    message = f"there is no job '{short(need.job)}'{did_you_mean(near(need.job[:100], jobs))}"
                    self.note(f"jobs.{name}.needs", _mark(node, need.job), message)
        if known and (
            circle := _circle({name: [need.job for need in found] for name, found in needs.items()})
        ):
            node = self.job_keys[f"jobs.{circle[0]}"]["needs"]
            message = f"these jobs wait for each other: {' -> '.join(map(short, circle))}"
            self.note(f"jobs.{circle[0]}.needs", node.start_mark, message)

    def _retry(self, keys: Mapping[str, yaml.Node], place: str) -> Retry | None:
        node, field = keys.get("retry"), f"{place}.retry"
        if node is None or is_null(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            most = self._number(keys, "retry", place, range(1, _MAX_RETRIES + 1))
            return Retry(most) if most else None
        found = self.mapping(node, field, "'retry'", language.RETRY)
        if found is None:
            return None
        most = self._number(found, "max", field, range(1, _MAX_RETRIES + 1))
        if "max" not in found:
            self.note_missing(f"{field}.max", node, "'retry' needs 'max', how often it runs again")
        when = found.get("when")
        causes = (
            () if when is None or is_null(when) else self._words(when, f"{field}.when", "'when'", _CAUSES)
        )
        return Retry(most or 1, self._exit_codes(found, field), cast(Any, causes))

    def _allow_failure(self, keys: Mapping[str, yaml.Node], place: str) -> AllowFailure | None:
        node, field = keys.get("allow_failure"), f"{place}.allow_failure"
        if node is None or is_null(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            return AllowFailure() if self.flag(keys, "allow_failure", place) else None
        found = self.mapping(node, field, "'allow_failure'", language.ALLOW_FAILURE)
        if found is None:
            return None
        if "exit_codes" not in found:
            self.note_missing(f"{field}.exit_codes", node, "'allow_failure' needs 'exit_codes', or be true")
        return AllowFailure(self._exit_codes(found, field))

    def _exit_codes(self, keys: Mapping[str, yaml.Node], place: str) -> tuple[int, ...]:
        node = keys.get("exit_codes")
        if node is None or is_null(node):
            return ()
        check = whole_number("an exit code", range(1, 256))
        codes = self._list(
            node, f"{place}.exit_codes", "'exit_codes'", lambda text: str(check(text)), "codes", _MAX_CODES
        )
        return tuple(map(int, codes))

    def _number(self, keys: Mapping[str, yaml.Node], key: str, place: str, allowed: range) -> int | None:
        return self.text(keys, key, whole_number(f"'{key}'", allowed), place, any_scalar=True)


def _size(node: yaml.Node) -> int:
    """How many values a node has."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if isinstance(node, yaml.SequenceNode):
        return 1 + sum(map(_size, cast(list[yaml.Node], node.value)))
    pairs = cast(list[tuple[yaml.Node, yaml.Node]], node.value)
    return 1 + sum(_size(key) + _size(value) for key, value in pairs)


def _mark(node: yaml.Node, word: str) -> Any:
    """Where a word stands in a list; where the list begins, if it can't be found."""
    items = cast(list[yaml.Node], node.value) if isinstance(node, yaml.SequenceNode) else []
    for item in items:
        if item.value == word:
            return item.start_mark
        if isinstance(item, yaml.MappingNode) and any(value.value == word for _, value in item.value):
            return item.start_mark
    return node.start_mark


def _circle(needs: Mapping[str, list[str]]) -> list[str]:
    """Names of jobs each of which needs the next, the first and the last being the same; empty if none do."""
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        waiting = [iter([start])]
        while waiting:
            name = next(waiting[-1], None)
            if name is None:
                waiting.pop()
                if path:
                    done.add(path.pop())
            elif name in path:
                return [*path[path.index(name) :], name]
            elif name not in done:
                path.append(name)
                waiting.append(iter(needs[name]))
    return []


def _check_name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise ValueError(f"'{short(text)}' can't name a job; use up to 100 letters, digits, '_', '-' and '.'")


def _check_axis(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"'{short(text)}' can't be a name in a matrix; use letters, digits, '_', '-' and '.'"
        )


def _check_value(text: str) -> str:
    if not text or not text.isprintable() or len(text) > _LONGEST_VALUE:
        raise ValueError(f"a value of a matrix must be one line of 1 to {_LONGEST_VALUE} characters")
    return text
