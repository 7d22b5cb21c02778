"""What starts a build of a pipeline, which of its steps then run, what it waits for, and who is told.

The values of `on`, `when`, `concurrency` and `notify`, valid and bounded; `trigger_reader` makes them.
A refusal is a sentence that quotes the filter and the value that did not fit; None means that it fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rapidflow_web.pipeline import cron
from rapidflow_web.pipeline.patterns import Patterns, shown

EVENTS = ("push", "tag", "pull_request", "schedule", "manual", "api")
"""What `when` can ask for."""
ACTIONS = ("opened", "synchronize", "reopened", "ready_for_review", "edited", "labeled", "unlabeled")
"""What can happen to a pull request that is built, in GitHub's words. Closed ones are not."""
DEFAULT_ACTIONS = ("opened", "synchronize", "reopened")
OCCASIONS = ("broken", "fixed", "failed", "always")
DEFAULT_OCCASIONS = frozenset(("broken", "fixed"))

Busy = Literal["queue", "replace", "cancel"]
Kind = Literal["mail", "webhook", "slack", "ntfy"]

_WITH_PATHS = ("push", "pull_request")
"""Events whose changed files count. Tags, schedules and people ignore `paths`."""
_SHOWN_PATHS = 2
_LONGEST_MESSAGE = 1_000_000
_SKIP = re.compile(r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip)\]", re.IGNORECASE)
_SKIP_TRAILER = re.compile(r"^skip-checks:[ \t]{0,9}true[ \t\r]{0,9}$", re.IGNORECASE | re.MULTILINE)
_VARIABLE = re.compile(r"\$\{\{[ \t]{0,9}([a-z_]{1,40})[ \t]{0,9}\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What filters are judged on.

    `event` is the job's word for what happened. `branch` is None for tags and pull requests, `target` is the
    branch that a pull request is to be merged into. `paths` are the changed files, None where they are not
    known; then every filter on paths fits. `pipeline` is the name, `pull_request` the number.
    """

    event: str
    ref: str | None = None
    branch: str | None = None
    tag: str | None = None
    target: str | None = None
    action: str | None = None
    draft: bool = False
    paths: tuple[str, ...] | None = None
    pipeline: str = ""
    pull_request: int | None = None


@dataclass(frozen=True, slots=True)
class PushFilter:
    """Pushes to branches."""

    branches: Patterns | None = None
    paths: Patterns | None = None

    def refusal(self, facts: Facts) -> str | None:
        """Why the push does not fit."""
        return _first(
            _unfit("branch", facts.branch, "on.push.branches", self.branches),
            _unchanged(facts, "on.push.paths", self.paths),
        )


@dataclass(frozen=True, slots=True)
class TagFilter:
    """Pushes of tags; all of them where `names` is None."""

    names: Patterns | None = None

    def refusal(self, facts: Facts) -> str | None:
        """Why the tag does not fit."""
        return _unfit("tag", facts.tag, "on.tag", self.names)


@dataclass(frozen=True, slots=True)
class PullRequestFilter:
    """Pull requests by the branch into which they are to be merged, and by what happened to them."""

    branches: Patterns | None = None
    types: tuple[str, ...] = DEFAULT_ACTIONS
    draft: bool = True
    """Whether drafts are built."""
    paths: Patterns | None = None

    def refusal(self, facts: Facts) -> str | None:
        """Why the pull request does not fit. An action that is not known fits."""
        if facts.action is not None and facts.action not in self.types:
            types = ", ".join(self.types)
            return f"the action '{shown(facts.action)}' does not fit on.pull_request.types [{types}]"
        if facts.draft and not self.draft:
            return "the pull request is a draft, and on.pull_request.draft is false"
        return _first(
            _unfit("target branch", facts.target, "on.pull_request.branches", self.branches),
            _unchanged(facts, "on.pull_request.paths", self.paths),
        )


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A time that comes again and again. `branch` is what is built, None for the default branch."""

    cron: str
    timezone: str = "UTC"
    name: str | None = None
    branch: str | None = None

    def next_after(self, time: datetime, seed: str) -> datetime:
        """When it is due next after `time`, which has a zone; in UTC. `seed` decides what `H` is.

        See `cron.next_after`.
        """
        return cron.next_after(self.cron, self.timezone, time, seed)

    def key(self) -> str:
        """What identifies it in its pipeline, in at most 255 characters."""
        return f"{self.name or ''}|{self.cron}|{self.timezone}"


@dataclass(frozen=True, slots=True)
class On:
    """What starts builds besides people and programs. What is None starts none."""

    push: PushFilter | None = None
    tag: TagFilter | None = None
    pull_request: PullRequestFilter | None = None
    schedule: tuple[CronSchedule, ...] = ()

    @property
    def events(self) -> tuple[str, ...]:
        """The events that it names."""
        return tuple(name for name in ("push", "tag", "pull_request", "schedule") if getattr(self, name))

    def described(self) -> list[str]:
        """What starts builds, a phrase for each."""
        found: list[str] = []
        if (push := self.push) is not None:
            found.append(f"a push to {_to('any branch', push.branches)}{_with_files(push.paths)}")
        if self.tag is not None:
            found.append(f"a tag, {_to('any name', self.tag.names)}")
        if (pull := self.pull_request) is not None:
            drafts = "" if pull.draft else ", unless it is a draft"
            target = _to("any branch", pull.branches)
            found.append(
                f"a pull request into {target} ({', '.join(pull.types)}){_with_files(pull.paths)}{drafts}"
            )
        for one in self.schedule:
            name = f" {one.name!r}" if one.name else ""
            branch = one.branch or "the default branch"
            found.append(f"the schedule{name} at '{one.cron}' in {one.timezone}, of {branch}")
        return found

    def refusal(self, facts: Facts) -> str | None:
        """Why an event starts no build. People and programs may always start one."""
        if facts.event in ("manual", "api", "retry"):
            return None
        if facts.event not in self.events:
            return f"'on' does not name {shown(facts.event)}, only {_words(self.events)}"
        filters = {"push": self.push, "tag": self.tag, "pull_request": self.pull_request}
        found = filters.get(facts.event)
        return found.refusal(facts) if found is not None else None


@dataclass(frozen=True, slots=True)
class When:
    """When a step runs: all that is not None must fit, and how the steps before it ended."""

    event: tuple[str, ...] | None = None
    branches: Patterns | None = None
    tags: Patterns | None = None
    paths: Patterns | None = None
    after_success: bool = True
    after_failure: bool = False

    def left_out(self, facts: Facts) -> str | None:
        """Why the step is left out of a build, however the steps before it end."""
        if self.event is not None and facts.event not in self.event:
            return f"the event '{shown(facts.event)}' does not fit when.event [{', '.join(self.event)}]"
        return _first(
            _unfit("branch", facts.branch, "when.branches", self.branches),
            _unfit("tag", facts.tag, "when.tags", self.tags),
            _unchanged(facts, "when.paths", self.paths),
        )

    def runs_after(self, failed: bool) -> bool:
        """Whether `status` lets it run where no step before it failed, or one did."""
        return self.after_failure if failed else self.after_success

    @property
    def reads_event(self) -> bool:
        """Whether it may differ between a push and a pull request of the same commit."""
        return any(one is not None for one in (self.event, self.branches, self.tags, self.paths))


NO_FAILURE = "no step before it failed, and when.status is failure"


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Of the builds of a group one runs at a time. `when_busy` says what becomes of others.

    They wait ("queue"), or the newest takes the place of what waits ("replace") or of what runs ("cancel").
    """

    group: str
    when_busy: Busy = "queue"

    def group_of(self, facts: Facts) -> str:
        """The name of the group; what is not there is empty in it."""
        return _VARIABLE.sub(lambda found: GROUP_VARIABLES[found[1]](facts) or "", self.group)


GROUP_VARIABLES: dict[str, Callable[[Facts], str | None]] = {
    "pipeline": lambda facts: facts.pipeline,
    "ref": lambda facts: facts.ref,
    "branch": lambda facts: facts.branch,
    "event": lambda facts: facts.event,
    "target": lambda facts: facts.target,
    "pull_request": lambda facts: None if facts.pull_request is None else str(facts.pull_request),
}
"""What `${{ }}` knows in the name of a group."""


def group_variables(group: str) -> list[str]:
    """The names in `${{ }}` of a group. Raises ValueError where one does not end."""
    if "${{" in _VARIABLE.sub("", group):
        raise ValueError("'${{' needs a name and '}}' after it, as in ${{ branch }}")
    return [found[1] for found in _VARIABLE.finditer(group)]


@dataclass(frozen=True, slots=True)
class NotifyTarget:
    """Who is told how a build ended. `address` is a mail address, or the name of a secret that has it."""

    kind: Kind
    address: str
    when: frozenset[str] = DEFAULT_OCCASIONS


def skip_word(message: str) -> str | None:
    """The word in a commit's message that says that no build is wanted; None where there is none."""
    message = message[:_LONGEST_MESSAGE]
    if found := _SKIP.search(message):
        return found[0]
    # As git has it, trailers are the last paragraph, which is not the first.
    _, blank, trailers = message.rstrip().rpartition("\n\n")
    found = _SKIP_TRAILER.search(trailers) if blank else None
    return found[0].strip() if found else None


def _to(anything: str, patterns: Patterns | None) -> str:
    return anything if patterns is None else str(patterns)


def _with_files(patterns: Patterns | None) -> str:
    return "" if patterns is None else f" that changes {patterns}"


def _first(*refusals: str | None) -> str | None:
    return next((refusal for refusal in refusals if refusal is not None), None)


def _unfit(what: str, value: str | None, filter_name: str, patterns: Patterns | None) -> str | None:
    if patterns is None:
        return None
    if value is None:
        return f"there is no {what} that could fit {filter_name} {patterns}"
    return (
        None if patterns.fit(value) else f"the {what} '{shown(value)}' does not fit {filter_name} {patterns}"
    )


def _unchanged(facts: Facts, filter_name: str, patterns: Patterns | None) -> str | None:
    if patterns is None or facts.paths is None or facts.event not in _WITH_PATHS:
        return None
    if patterns.fit_any(facts.paths):
        return None
    more = len(facts.paths) - _SHOWN_PATHS
    items = ", ".join(map(shown, facts.paths[:_SHOWN_PATHS]))
    changed = f"{items} and {more} more" if more > 0 else items or "nothing"
    return f"no changed file fits {filter_name} {patterns}; changed: {changed}"


def _words(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
