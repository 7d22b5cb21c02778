"""What pages say of where builds and events come from: kinds, refs, outcomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from markupsafe import Markup

from rapidflow_web import invisible
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.filters import mark
from rapidflow_web.triggers.occurrence import HEADS, TAGS

_KINDS = {
    "push": "push",
    "tag": "tag",
    "pull_request": "pull request",
    "schedule": "schedule",
    "delete": "deleted",
}
_SOURCES = {
    "webhook": "by webhook",
    "poll": "found by polling",
    "push": "by a post-receive hook",
    "schedule": "by its schedule",
}
_OUTCOMES = {
    "built": mark("success", "built"),
    "ignored": mark("cancelled", "ignored"),
    "waiting": mark("pending", "waiting"),
    "failed": mark("failed", "failed"),
}


_UNSEEN = invisible.pattern(r"\x00-\x08\x0b-\x1f")
_STARTERS = {"poll": "polling", "push": "git hook"}


class _Origin(Protocol):
    @property
    def event(self) -> str: ...
    @property
    def ref(self) -> str | None: ...
    @property
    def branch(self) -> str | None: ...
    @property
    def pull_request(self) -> Mapping[str, object] | None: ...


@blueprint.app_template_filter("kind")
def kind(name: str) -> str:
    """A kind of event in words."""
    return _KINDS.get(name, name)


@blueprint.app_template_filter("source")
def source(name: str) -> str:
    """How an event came to be known, as the end of a sentence."""
    return _SOURCES[name]


@blueprint.app_template_filter("starter")
def starter(started_by: str) -> str:
    """Who or what started a build, in a table."""
    return _STARTERS.get(started_by, started_by)


@blueprint.app_template_global("verdict")
def verdict(outcome: str) -> Markup:
    """What an event meant for a pipeline, as a word with its shape."""
    return _OUTCOMES[outcome]


@blueprint.app_template_filter("ref_name")
def ref_name(ref: str | None) -> str:
    """A ref as people call it."""
    if ref is None:
        return ""
    return f"tag {ref.removeprefix(TAGS)}" if ref.startswith(TAGS) else ref.removeprefix(HEADS)


@blueprint.app_template_filter("built_ref")
def built_ref(build: _Origin) -> str:
    """What a build is of: a branch, a tag, or a pull request."""
    if build.pull_request is not None:
        return f"#{build.pull_request.get('number')} {build.pull_request.get('source') or ''}".strip()
    return ref_name(build.ref) or build.branch or ""


@blueprint.app_template_filter("plain")
def plain(text: str) -> str:
    """The text with control characters, invisible ones, and those that turn words around, as escapes.

    Whoever is to judge a definition must see it as the server reads it.
    """
    return _UNSEEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@blueprint.app_template_filter("web_address")
def web_address(url: object) -> str | None:
    """The URL where a browser may follow it; deliveries can say anything."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None
