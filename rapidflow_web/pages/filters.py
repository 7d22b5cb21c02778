"""Filters and functions of the templates: times, durations, statuses and text."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Protocol

from markupsafe import Markup, escape

from rapidflow_web.pages import documents
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pipeline.durations import format_elapsed

_SHAPES = {
    "success": '<path d="M3.5 8.5 6.5 11.5 12.5 4.5"/>',
    "failed": '<path d="M4 4l8 8M12 4l-8 8"/>',
    "running": '<path d="M8 2.5a5.5 5.5 0 1 0 5.5 5.5"/>',
    "pending": '<circle cx="8" cy="8" r="5.5"/><path d="M8 5v3.2l2 1.3"/>',
    "cancelled": '<circle cx="8" cy="8" r="5.5"/><path d="M5.5 8h5"/>',
}


def mark(status: str, word: str) -> Markup:
    """A word with the shape and colour of a status. Neither comes from outside."""
    return Markup(  # noqa: S704
        f'<span class="status {status}"><svg viewBox="0 0 16 16" fill="none" stroke="currentColor" '
        'stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">'
        f"{_SHAPES[status]}</svg>{word}</span>"
    )


_LIKE = {
    "skipped": "cancelled",
    "not run": "cancelled",
    "waiting": "pending",
    "queued": "pending",
    "waits_for_approval": "pending",
    "forgiven": "success",
}
"""States that are shown like a status."""
_WORDS = {"waits_for_approval": "needs approval", "forgiven": "failure allowed"}
_STATUSES = {status: mark(status, status) for status in _SHAPES} | {
    state: mark(like, _WORDS.get(state, state)) for state, like in _LIKE.items()
}

_VIA = {
    "api": "via API",
    "web": "in the browser",
    "cli": "from the command line",
    "webhook": "by webhook",
    "poll": "by polling",
    "push": "by a post-receive hook",
    "schedule": "by schedule",
}


_MAY_DO = {
    "viewer": "reads pipelines, builds and logs; has tokens",
    "builder": "reads, and starts, cancels and retries builds",
    "admin": "does everything: edits pipelines, secrets and users, prunes, reads the audit log",
}


class _Timed(Protocol):
    @property
    def started_at(self) -> int | None: ...
    @property
    def finished_at(self) -> int | None: ...


@blueprint.app_template_global("status")
def status(name: str) -> Markup:
    """A status as a word with its shape; ready made, because pages have it in every row."""
    return _STATUSES[name]


@blueprint.app_template_filter("state_word")
def state_word(state: str) -> str:
    """A status, or the state of a part, in words."""
    return _WORDS.get(state, state)


@blueprint.app_template_global("counted")
def counted(state: str, count: int) -> Markup:
    """How many are in a state, with its shape; the word is for those who don't see that."""
    return mark(
        _LIKE.get(state, state), f'{count:d}<span class="visually-hidden"> {state_word(state)}</span>'
    )


blueprint.add_app_template_filter(format_elapsed, "elapsed")


@blueprint.app_template_global("running_time")
def running_time(timed: _Timed) -> Markup:
    """How long something took, or has been running, which `page.js` counts."""
    if timed.started_at is None:
        return Markup("–")
    if timed.finished_at is None:
        return Markup(f'<time class="number" data-since="{timed.started_at:d}">running</time>')  # noqa: S704
    elapsed = format_elapsed(timed.finished_at - timed.started_at)
    return Markup(f'<span class="number">{elapsed}</span>')  # noqa: S704


@blueprint.app_template_global("since")
def since(at: int) -> Markup:
    """How long something goes on since a time, which `page.js` counts."""
    return Markup(  # noqa: S704
        f'<time class="number" data-since="{at:d}" title="since {_exact(at)}">since {_minute(at)}</time>'
    )


@blueprint.app_template_global("ago")
@functools.lru_cache(maxsize=4096)
def ago(at: int | None) -> Markup:
    """A time, which `page.js` replaces by how long ago that was."""
    if at is None:
        return Markup("–")
    # Numbers only, and pages have many of them: `Markup.format` takes ten times as long.
    return Markup(  # noqa: S704
        f'<time data-ago="{at:d}" datetime="{_iso(at)}" title="{_exact(at)}">{_minute(at)}</time>'
    )


_STYLES = {"day": "%Y-%m-%d", "minute": "%Y-%m-%d %H:%M UTC", "second": "%Y-%m-%d %H:%M:%S UTC"}


@blueprint.app_template_global("moment")
def moment(at: int, style: str = "minute") -> Markup:
    """A time, UTC, with seconds when one points at it. `page.js` replaces it by the reader's local time."""
    return Markup(  # noqa: S704
        f'<time data-at="{at:d}" data-style="{style}" datetime="{_iso(at)}" title="{_exact(at)}">'
        f"{_said(at, _STYLES[style])}</time>"
    )


def _said(at: int, form: str) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime(form)


def _minute(at: int) -> str:
    return _said(at, _STYLES["minute"])


def _exact(at: int) -> str:
    return _said(at, _STYLES["second"])


@blueprint.app_template_global("may_do")
def may_do(role: str) -> str:
    """What somebody with this role does."""
    return _MAY_DO[role]


def _iso(at: int) -> str:
    """A time as machines read it."""
    return _said(at, "%Y-%m-%dT%H:%M:%SZ")


@blueprint.app_template_filter("capitalize_first")
def capitalize_first(text: str) -> str:
    """The text as a sentence begins, the rest as it is."""
    return text[:1].upper() + text[1:]


@blueprint.app_template_filter("sentence")
def sentence(text: str) -> str:
    """The text as a sentence; what others said, such as git, may have its period."""
    text = capitalize_first(text.rstrip())
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


@blueprint.app_template_filter("via")
def via(started_by: str) -> str:
    """What started a build, as the end of a sentence."""
    return _VIA.get(started_by) or f"by {started_by}"


@blueprint.app_template_filter("documented")
def documented(field: str) -> str:
    """Where the page on pipelines tells of the field that a problem is about."""
    return documents.anchor_of(field)


@blueprint.app_template_filter("code")
def code(text: str) -> Markup:
    """The text with what stands between backticks as code."""
    parts = (escape(part) for part in text.split("`"))
    return Markup().join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


_LONGEST_LINE = 200  # characters


@blueprint.app_template_filter("first_line")
def first_line(text: str) -> str:
    """The first line of a script."""
    return text.strip().partition("\n")[0][:_LONGEST_LINE]
