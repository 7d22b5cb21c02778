"""Signed deliveries of forges to a server, about commits of a repository on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from tests.support.payloads import event_of, headers_for, payload, standard_headers
from tests.support.server import Answer, Server

ZERO = "0" * 40
FORGES = ("github", "gitlab", "gitea", "forgejo", "bitbucket", "git")


def push_body(forge: str, ref: str, before: str | None, after: str) -> dict[str, Any]:
    """What a forge says of a push to a branch."""
    if forge == "git":
        return {"type": "push", "data": {"ref": ref, "before": before or ZERO, "after": after}}
    body = payload(f"{forge}-push")
    if forge == "bitbucket":
        (change,) = body["push"]["changes"]
        change["new"]["name"] = ref.removeprefix("refs/heads/")
        change["new"]["target"]["hash"] = after
        if before is not None:
            change["old"]["target"]["hash"] = before
        return body
    body |= {"ref": ref, "before": before or ZERO, "after": after}
    if forge == "gitlab":
        body["checkout_sha"] = after
    elif body.get("head_commit"):
        body["head_commit"]["id"] = after
    return body


def pull_request_body(
    after: str,
    *,
    number: int = 1,
    action: str = "opened",
    fork: bool = True,
    source: str = "feature",
    title: str = "From outside",
    sender: str = "stranger",
) -> dict[str, Any]:
    """What GitHub says of a pull request into main."""
    body = payload("github-pull-request-opened")
    body |= {"action": action, "number": number}
    body["sender"]["login"] = sender
    pull = body["pull_request"]
    pull["title"] = title
    pull["number"] = number
    pull["head"] |= {"sha": after, "ref": source}
    pull["base"]["ref"] = "main"
    pull["base"]["repo"] = {**pull["base"]["repo"], "id": 1}
    pull["head"]["repo"] = {**pull["base"]["repo"], "id": 2 if fork else 1}
    return body


def headers_of(forge: str, body: bytes, secret: str, identifier: str, event: str = "") -> dict[str, str]:
    """The headers of a signed delivery with this id."""
    if forge == "git":
        signed = standard_headers(body, secret, identifier=identifier, timestamp=int(time.time()))
        return {"Content-Type": "application/json", **signed}
    every = dict(headers_for(forge, event or event_of(f"{forge}-push"), body, secret))
    own = ("X-GitHub-Delivery", "X-Gitlab-Event-UUID", "X-Request-UUID")
    for name in (*own, f"X-{forge.capitalize()}-Delivery"):
        if name in every:
            every[name] = identifier
    return every


class Hook:
    """The webhook of a repository that was added."""

    def __init__(self, server: Server, added: dict[str, Any]) -> None:
        self.server = server
        self.path = added["hook_url"].removeprefix(server.url)
        self.secret = added["hook_secret"]
        self.number = 0

    def send(
        self, forge: str, body: Any, *, event: str = "", identifier: str = "", secret: str | None = None
    ) -> Answer:
        """Sends a signed delivery, with an id of its own unless one is given."""
        self.number += 1
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        identifier = identifier or f"delivery-{self.number}"
        headers = headers_of(forge, text, secret or self.secret, identifier, event)
        return self.server.request("POST", self.path, text, headers)

    def push(self, forge: str, after: str, ref: str = "refs/heads/main", before: str | None = None) -> Answer:
        """Sends what a forge says of a push."""
        return self.send(forge, push_body(forge, ref, before, after))

    def pull_request(self, after: str, **more: Any) -> Answer:
        """Sends what GitHub says of a pull request."""
        return self.send("github", pull_request_body(after, **more), event="pull_request")


def outcomes(event: dict[str, Any]) -> list[tuple[str, str]]:
    """What was decided on an event, and why."""
    decisions: Sequence[dict[str, Any]] = event["decisions"]
    return [(one["outcome"], one["reason"]) for one in decisions]
