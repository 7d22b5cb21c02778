"""The public face of this room: what other rooms import."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from urllib.parse import quote

from rapidflow_web.forges import bitbucket, gitea, github, gitlab, locations, payloads, standard
from rapidflow_web.forges.fields import Field
from rapidflow_web.forges.locations import Location, guess
from rapidflow_web.forges.shapes import (
    NAMES,
    Api,
    Change,
    Forge,
    ForgeError,
    Headers,
    Kind,
    PullRequest,
    Read,
    State,
    Unreadable,
    WrongSignature,
)
from rapidflow_web.forges.signatures import header, verify

__all__ = [
    "NAMES",
    "Api",
    "Change",
    "Forge",
    "ForgeError",
    "Headers",
    "Kind",
    "PullRequest",
    "Read",
    "State",
    "Unreadable",
    "WrongSignature",
    "api_for",
    "delivery_key",
    "event_name",
    "guess",
    "new_secret",
    "read",
    "verify",
]


_EVENTS = {
    # Gitea and Forgejo send the headers of GitHub, too.
    "x-forgejo-event": "gitea",
    "x-gitea-event": "gitea",
    "x-gitlab-event": "gitlab",
    "x-github-event": "github",
    "x-event-key": "bitbucket",
}
_KEYS = (
    "x-forgejo-delivery",
    "x-gitea-delivery",
    "webhook-id",
    "idempotency-key",
    "x-gitlab-event-uuid",
    "x-github-delivery",
    "x-request-uuid",
)
_LONGEST_EVENT = 64
_LONGEST_KEY = 255


def new_secret() -> str:
    """A secret for a webhook. It has 32 characters, which GitLab demands of keys to sign with."""
    return secrets.token_hex(16)


def event_name(headers: Headers) -> str:
    """The forge's word for what happened, at most 64 characters; empty where it said none."""
    return _event(headers)[1]


def delivery_key(headers: Headers) -> str | None:
    """What identifies a delivery: the same for each attempt to deliver it. At most 255 characters."""
    for name in _KEYS:
        if key := header(headers, name):
            fits = len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()
            return key if fits else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
    return None


def read(headers: Headers, body: bytes) -> Read:
    """What a delivery says. One that names no event follows Standard Webhooks. Raises `Unreadable`.

    Call it in a thread: that of 25 MB takes a second or two, in which other threads run.
    """
    sender, event = _event(headers)
    field = Field(payloads.parsed(body, header(headers, "content-type") or ""))
    found = _read(sender, event, field)
    if not sender or not found.changes:
        return found
    # GitLab has it under "project".
    name = field["project" if sender == "gitlab" else "repository"]["default_branch"]
    return replace(found, default_branch=name.text_or_none())


def _read(sender: str, event: str, field: Field) -> Read:
    match sender:
        case "gitea":
            return gitea.read(event, field)
        case "gitlab":
            return gitlab.read(event, field)
        case "github":
            return github.read(event, field)
        case "bitbucket":
            return bitbucket.read(event, field)
        case _:
            return standard.read(field)


def api_for(forge: str, clone_url: str, token: str) -> Api | None:
    """The API of the forge, which is at the host of the clone URL. None where there is none.

    The token goes nowhere else. It is sent in clear to servers of the own network only.
    """
    there = locations.of(clone_url)
    names = there.names() if there else ()
    if there is None or len(names) < 2:
        return None
    *above, owner, name = names
    match forge:
        case "github":
            return github.GitHub(_github_base(there), owner, name, token)
        case "gitlab":
            origin = "https://gitlab.com" if there.host == "altssh.gitlab.com" else there.origin()
            return gitlab.GitLab(f"{origin}/api/v4", "/".join(names), token)
        case "gitea" | "forgejo":
            # What is above the owner is where the forge is below its host.
            base = "/".join((there.origin(), *map(_quoted, above), "api/v1"))
            return gitea.Gitea(base, owner, name, token)
        case "bitbucket":
            return bitbucket.Bitbucket(_bitbucket_base(there), owner, name, token)
        case _:
            return None


def _github_base(there: Location) -> str:
    if there.host in ("github.com", "ssh.github.com"):
        return "https://api.github.com"
    if there.host.endswith(".ghe.com"):
        return f"https://api.{there.host}"
    return f"{there.origin()}/api/v3"


def _bitbucket_base(there: Location) -> str:
    if there.host in ("bitbucket.org", "altssh.bitbucket.org"):
        return "https://api.bitbucket.org/2.0"
    return f"{there.origin()}/2.0"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _event(headers: Headers) -> tuple[str, str]:
    """Which forge's event a delivery is, and its word for it. Both empty where it does not say."""
    for name, forge in _EVENTS.items():
        if event := header(headers, name):
            shown = "".join(character if character.isprintable() else "?" for character in event)
            return forge, shown[:_LONGEST_EVENT]
    return "", ""
