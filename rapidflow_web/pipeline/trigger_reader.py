"""Reads `on`, `when`, `concurrency` and `notify`: what starts a build, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import yaml

from rapidflow_web.pipeline import language, repositories
from rapidflow_web.pipeline.cron import NeverComes, check_cron, check_timezone
from rapidflow_web.pipeline.mail_addresses import is_address
from rapidflow_web.pipeline.patterns import MAX_PATTERNS, Patterns, check_pattern
from rapidflow_web.pipeline.reader import Reader, is_null, kind_of, within
from rapidflow_web.pipeline.suggestions import did_you_mean, near, short
from rapidflow_web.pipeline.triggers import (
    ACTIONS,
    DEFAULT_ACTIONS,
    DEFAULT_OCCASIONS,
    EVENTS,
    GROUP_VARIABLES,
    OCCASIONS,
    Concurrency,
    CronSchedule,
    NotifyTarget,
    On,
    PullRequestFilter,
    PushFilter,
    TagFilter,
    When,
    group_variables,
)
from rapidflow_web.pipeline.variables import check_secret_name

MAX_SCHEDULES = 20
MAX_TARGETS = 20
MAX_SCHEDULE_NAME = 100
MAX_GROUP = 200
_MAX_WORDS = 20
_MAX_LABELS = 20
_LONGEST_LABEL = 50

_ON_WORDS = tuple(language.ON)
_STATUSES = tuple(language.WHEN["status"].values)
_BUSY = tuple(language.CONCURRENCY["when_busy"].values)

T = TypeVar("T")


class TriggerReader(Reader):
    """Reads the values of these keys; see `Reader` for what becomes of what is not right."""

    def on(self, keys: Mapping[str, yaml.Node]) -> On | None:
        """What starts builds; None where nothing is said of it."""
        node = keys.get("on")
        if node is None:
            return None
        if isinstance(node, yaml.MappingNode):
            found = self.mapping(node, "on", "'on'", language.ON) or {}
            if not found and not node.value:
                self.note("on", node.start_mark, "'on' is empty; name push, tag, pull_request or schedule")
            return On(
                push=self._push(found),
                tag=self._tag(found),
                pull_request=self._pull_request(found),
                schedule=self._schedules(found),
            )
        if is_null(node):
            self.note("on", node.start_mark, "'on' is empty; name push, tag, pull_request or schedule")
            return None
        words = self._words(node, "on", "'on'", _ON_WORDS)
        if "schedule" in words:
            message = "a schedule needs a time; write schedule: [{cron: '30 3 * * 1-5'}] below 'on'"
            self.note("on", node.start_mark, message)
        return On(
            push=PushFilter() if "push" in words else None,
            tag=TagFilter() if "tag" in words else None,
            pull_request=PullRequestFilter() if "pull_request" in words else None,
        )

    def _push(self, on: Mapping[str, yaml.Node]) -> PushFilter | None:
        keys = self._filter(on, "push", language.PUSH)
        if keys is None:
            return None
        return PushFilter(
            self._patterns(keys, "branches", "on.push", _check_ref),
            self._patterns(keys, "paths", "on.push", _check_path),
        )

    def _tag(self, on: Mapping[str, yaml.Node]) -> TagFilter | None:
        return TagFilter(self._patterns(on, "tag", "on", _check_ref)) if "tag" in on else None

    def _pull_request(self, on: Mapping[str, yaml.Node]) -> PullRequestFilter | None:
        field = "on.pull_request"
        keys = self._filter(on, "pull_request", language.PULL_REQUEST)
        if keys is None:
            return None
        draft = is_null(keys["draft"]) or self.flag(keys, "draft") if "draft" in keys else True
        types = DEFAULT_ACTIONS
        if "types" in keys and not is_null(keys["types"]):
            types = self._words(keys["types"], f"{field}.types", "'types'", ACTIONS)
        elif not draft:
            # What was left out as a draft is built when it is one no more.
            types = (*types, "ready_for_review")
        return PullRequestFilter(
            self._patterns(keys, "branches", field, _check_ref),
            types,
            draft,
            self._patterns(keys, "paths", field, _check_path),
        )

    def _filter(
        self, on: Mapping[str, yaml.Node], event: str, known: Iterable[str]
    ) -> dict[str, yaml.Node] | None:
        """The keys of an event's filter; None where the event is not named."""
        node = on.get(event)
        if node is None or is_null(node):
            return None if node is None else {}
        if isinstance(node, yaml.SequenceNode):
            message = f"'{event}' must be a mapping, not a list; write {event}: {{branches: [main]}}"
            self.note(f"on.{event}", node.start_mark, message)
            return {}
        return self.mapping(node, f"on.{event}", f"'{event}'", known) or {}

    def _schedules(self, on: Mapping[str, yaml.Node]) -> tuple[CronSchedule, ...]:
        found: dict[str, CronSchedule] = {}
        never: list[str] = []

        def check(line: str) -> str:
            try:
                return check_cron(line)
            except NeverComes:
                never.append(line)
                raise

        for item, field in self._items(on, "schedule", "on", MAX_SCHEDULES, "schedules"):
            if never:
                break  # twenty of them would take too long
            keys = self.mapping(item, field, "a schedule", language.SCHEDULE)
            if keys is None:
                continue
            line = self.text(keys, "cron", check, field)
            if "cron" not in keys or is_null(keys["cron"]):
                self.note_missing(f"{field}.cron", item, "a schedule needs 'cron', as in '30 3 * * 1-5'")
            schedule = CronSchedule(
                line or "",
                self.text(keys, "timezone", check_timezone, field) or "UTC",
                self.text(keys, "name", _one_line(MAX_SCHEDULE_NAME, "name of a schedule"), field),
                self.text(keys, "branch", repositories.check_branch, field, any_scalar=True),
            )
            if line and schedule.key() in found:
                self.note(field, item.start_mark, "this schedule is there twice; give one another 'name'")
            found[schedule.key()] = schedule
        return tuple(found.values())

    def when(self, keys: Mapping[str, yaml.Node], field: str) -> When | None:
        """When a step runs; None where nothing is said of it."""
        node = keys.get("when")
        if node is None or is_null(node):
            return None
        field = f"{field}.when"
        keys = self.mapping(node, field, "'when'", language.WHEN) or {}
        event = keys.get("event")
        status = keys.get("status")
        statuses = ("success",)
        if status is not None and not is_null(status):
            statuses = self._words(status, f"{field}.status", "'status'", _STATUSES)
        return When(
            event=None
            if event is None or is_null(event)
            else self._words(event, f"{field}.event", "'event'", EVENTS),
            branches=self._patterns(keys, "branches", field, _check_ref),
            tags=self._patterns(keys, "tags", field, _check_ref),
            paths=self._patterns(keys, "paths", field, _check_path),
            after_success=bool({"success", "always"} & set(statuses)),
            after_failure=bool({"failure", "always"} & set(statuses)),
        )

    def concurrency(self, keys: Mapping[str, yaml.Node], place: str = "") -> Concurrency | None:
        """The group of the builds; None where nothing is said of it."""
        field = within(place, "concurrency")
        node = keys.get("concurrency")
        if node is None or is_null(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            group = self.text(keys, "concurrency", _check_group, place, others=True)
            return Concurrency(group) if group else None
        found = self.mapping(node, field, "'concurrency'", language.CONCURRENCY)
        if found is None:
            return None
        group = self.text(found, "group", _check_group, field, others=True)
        if "group" not in found or is_null(found["group"]):
            self.note_missing(f"{field}.group", node, "'concurrency' needs a 'group'")
        busy = self.text(found, "when_busy", _one_of("'when_busy'", _BUSY), field)
        return Concurrency(group or "", cast(Any, busy or "queue"))

    def notify(self, keys: Mapping[str, yaml.Node]) -> tuple[NotifyTarget, ...]:
        """Who is told how builds end."""
        targets: list[NotifyTarget] = []
        for item, field in self._items(keys, "notify", "", MAX_TARGETS, "items"):
            found = self.mapping(item, field, "an item of 'notify'", language.NOTIFY)
            if found is None:
                continue
            kinds = [kind for kind in language.TARGETS if kind in found]
            if len(kinds) != 1 or is_null(found[kinds[0]]):
                if kinds or len(found) == len(item.value):
                    message = "an item of 'notify' needs one of mail, webhook, slack and ntfy"
                    self.note(field, item.start_mark, message)
                continue
            (kind,) = kinds
            check = _check_mail if kind == "mail" else _check_address(kind)
            address = self.text(found, kind, check, field)
            when = found.get("when")
            occasions = DEFAULT_OCCASIONS
            if when is not None and not is_null(when):
                occasions = frozenset(self._words(when, f"{field}.when", "'when'", OCCASIONS))
            targets.append(NotifyTarget(cast(Any, kind), address or "", occasions))
        return tuple(targets)

    def labels(self, keys: Mapping[str, yaml.Node]) -> tuple[str, ...]:
        """By what lists find the pipeline, each once."""
        node = keys.get("labels")
        if node is None or is_null(node) or node.value == []:
            return ()
        check = _one_line(_LONGEST_LABEL, "label")
        return tuple(dict.fromkeys(self._list(node, "labels", "'labels'", check, "labels", _MAX_LABELS)))

    def _items(
        self, keys: Mapping[str, yaml.Node], key: str, field: str, most: int, what: str
    ) -> list[tuple[yaml.Node, str]]:
        """The items of a list of mappings, each with its field; none where it is not there or not right."""
        node = keys.get(key)
        field = f"{field}.{key}" if field else key
        if node is None or (is_null(node) and key != "schedule"):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.note(field, node.start_mark, f"'{key}' must be a list of mappings, not {kind_of(node)}")
            return []
        items = cast(list[yaml.Node], node.value)
        if len(items) > most:
            message = f"there are {len(items)} {what} in '{key}'; at most {most} are taken"
            self.note(field, node.start_mark, message)
            return []
        if not items and key == "schedule":
            self.note(field, node.start_mark, "'schedule' needs at least one item, with 'cron'")
        return [(item, f"{field}[{index}]") for index, item in enumerate(items)]

    def _patterns(
        self, keys: Mapping[str, yaml.Node], key: str, field: str, check: Callable[[str], str]
    ) -> Patterns | None:
        """The patterns of a key, one or a list; None where nothing is said."""
        node = keys.get(key)
        if node is None or is_null(node):
            return None
        texts = self._list(node, f"{field}.{key}", f"'{key}'", check, "patterns", MAX_PATTERNS)
        if texts and texts[0].startswith("!"):
            message = f"'{key}' begins with a pattern that takes out; begin with what is in, such as '**'"
            self.note(f"{field}.{key}", node.start_mark, message)
        return Patterns(texts)

    def _words(self, node: yaml.Node, field: str, what: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """One known word, or a list of them."""
        return self._list(node, field, what, _one_of(what, known), "words", _MAX_WORDS)

    def _list(
        self, node: yaml.Node, field: str, what: str, check: Callable[[str], str], items: str, most: int
    ) -> tuple[str, ...]:
        if isinstance(node, yaml.ScalarNode):
            text = self.scalar(node, field, what, check, any_scalar=True)
            return () if text is None else (text,)
        if not isinstance(node, yaml.SequenceNode):
            self.note(field, node.start_mark, f"{what} must be a word or a list, not {kind_of(node)}")
            return ()
        nodes = cast(list[yaml.Node], node.value)
        if not nodes:
            self.note(field, node.start_mark, f"{what} is an empty list, which nothing fits; leave it out")
        if len(nodes) > most:
            message = f"there are {len(nodes)} {items} in {what}; at most {most} are taken"
            self.note(field, node.start_mark, message)
            return ()
        found = [
            self.scalar(item, f"{field}[{index}]", f"an item of {what}", check, any_scalar=not is_null(item))
            for index, item in enumerate(nodes)
        ]
        return tuple(text for text in found if text is not None)


def _one_of(what: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in known:
            hint = did_you_mean(near(text[:60], known)) or f"; use {', '.join(known)}"
            raise ValueError(f"{what} can't be '{short(text)}'{hint}")
        return text

    return check


def _one_line(most: int, what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not text.strip() or not text.isprintable() or len(text) > most:
            raise ValueError(f"the {what} must be one line of at most {most} characters")
        return text.strip()

    return check


def _check_ref(text: str) -> str:
    check_pattern(text)
    name = text.removeprefix("!")
    for prefix in ("refs/heads/", "refs/tags/"):
        if name.startswith(prefix):
            raise ValueError(f"write '{short(name.removeprefix(prefix))}', without {prefix}")
    if name.startswith("/") or name.endswith("/"):
        raise ValueError(f"'{short(text)}' matches no branch or tag; names begin and end without '/'")
    return text


def _check_path(text: str) -> str:
    check_pattern(text)
    if text.removeprefix("!").startswith(("/", "./")):
        raise ValueError(f"'{short(text)}' matches no file; paths of a repository begin without '/' and './'")
    if text.endswith("/"):
        raise ValueError(f"'{short(text)}' matches no file; add '**' for all files in the folder")
    return text


def _check_group(text: str) -> str:
    text = _one_line(MAX_GROUP, "group")(text)
    for name in group_variables(text):
        if name not in GROUP_VARIABLES:
            hint = did_you_mean(near(name, GROUP_VARIABLES)) or f"; use {', '.join(GROUP_VARIABLES)}"
            raise ValueError(f"a group knows no '{name}'{hint}")
    return text


def _check_mail(text: str) -> str:
    if not is_address(text):
        raise ValueError(f"'{short(text)}' is not a mail address; write one like team@example.com")
    return text


def _check_address(kind: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            return check_secret_name(text)
        except ValueError:
            raise ValueError(
                f"'{kind}' needs the name of a secret that has the address, not '{short(text)}'; "
                "store it with 'rapidflow secret set NAME'"
            ) from None

    return check
