"""Guesses the headers that came with a body which was kept without them."""

from __future__ import annotations

from typing import Any, cast

from rapidflow_web.forges import payloads
from rapidflow_web.forges.shapes import Headers


def likely_headers(forge: str | None, body: bytes) -> Headers:
    """The header that tells what happened; none for a body in no form of this or any forge.

    Each form is known by fields that only it has. Raises `Unreadable`.
    """
    found = payloads.parsed(body, "application/json")
    fields = cast(dict[str, Any], found) if isinstance(found, dict) else {}
    for name, headers in (("gitlab", _of_gitlab(fields)), ("bitbucket", _of_bitbucket(fields))):
        if headers and forge in (None, name):
            return headers
    event = _event_of_github(fields)
    if event is None or forge in ("gitlab", "bitbucket", "git"):
        return ()
    is_gitea = not _of(fields, "repository", "node_id") if forge is None else forge != "github"
    return (("x-gitea-event" if is_gitea else "x-github-event", event),)


def _of_gitlab(fields: dict[str, Any]) -> Headers:
    # What counts is the field.
    return (("x-gitlab-event", "Hook"),) if "object_kind" in fields else ()


def _of_bitbucket(fields: dict[str, Any]) -> Headers:
    if "pullrequest" in fields:
        return (("x-event-key", "pullrequest:created"),)
    return (("x-event-key", "repo:push"),) if _of(fields, "push", "changes") else ()


def _event_of_github(fields: dict[str, Any]) -> str | None:
    """GitHub's word for what happened, which Gitea and Forgejo use, too."""
    if "repository" not in fields:
        return None
    if "pull_request" in fields:
        return "pull_request"
    if "ref_type" in fields:
        return "create" if "sha" in fields or "master_branch" in fields else "delete"
    if "zen" in fields:
        return "ping"
    return "push" if "after" in fields else None


def _of(fields: dict[str, Any], name: str, inner: str) -> bool:
    value = fields.get(name)
    return isinstance(value, dict) and inner in value
