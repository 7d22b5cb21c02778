"""Deliveries of all forges: bodies that they sent, and the headers that go with them."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rapidflow_web.forges import base
from rapidflow_web.forges.base import Change

Body = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "payloads"
SECRET = "0123456789abcdef0123456789abcdef"
NOW = 1_790_000_000.0

_GITLAB = {"push": "Push Hook", "tag": "Tag Push Hook", "merge": "Merge Request Hook"}


def names() -> list[str]:
    """All payloads, as `payload` takes them."""
    found = [path.relative_to(FOLDER) for path in sorted(FOLDER.rglob("*.json"))]
    return [str(path.with_suffix("")) for path in found if path.name != "github-api.json"]


def payload(name: str) -> dict[str, Any]:
    """A body as JSON."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def forge_of(name: str) -> str:
    """Which forge sent it."""
    return "github" if name.startswith("octokit/") else name.partition("-")[0]


def event_of(name: str) -> str:
    """The forge's word for it."""
    kind = name.removeprefix("octokit/").removeprefix(forge_of(name)).removeprefix("-")
    match forge_of(name):
        case "gitlab":
            return _GITLAB[kind.partition("-")[0]]
        case "bitbucket":
            return "pullrequest:created" if kind.startswith("pull-request") else "repo:push"
        case _:
            return "pull_request" if kind.startswith("pull-request") else kind.partition("-")[0]


def headers_for(forge: str, event: str, body: bytes, secret: str = SECRET) -> list[list[str]]:
    """The headers with which the forge sends it, signed."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    match forge:
        case "github":
            own = {
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": "1",
                "X-Hub-Signature-256": f"sha256={digest}",
            }
        case "gitlab":
            own = {"X-Gitlab-Event": event, "X-Gitlab-Event-UUID": "1", "X-Gitlab-Token": secret}
        case "bitbucket":
            own = {"X-Event-Key": event, "X-Request-UUID": "1", "X-Hub-Signature": f"sha256={digest}"}
        case "git":
            own = standard_headers(body, secret)
        case _:
            name = forge.capitalize()
            own = {
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": "1",
                "X-Hub-Signature-256": f"sha256={digest}",
                f"X-{name}-Event": event,
                f"X-{name}-Delivery": "1",
                f"X-{name}-Signature": digest,
            }
    return [["Content-Type", "application/json"], *([key, value] for key, value in own.items())]


def standard_headers(
    body: bytes, secret: str = SECRET, *, identifier: str = "msg_1", timestamp: int = int(NOW)
) -> dict[str, str]:
    """Those of Standard Webhooks."""
    signed = hmac.new(secret.encode(), f"{identifier}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def read(name: str, change: Callable[[Body], object] = lambda body: None, *, event: str = "") -> base.Read:
    """What the payload of that name says once it was changed."""
    body = copy.deepcopy(payload(name))
    change(body)
    data = json.dumps(body).encode()
    return base.read(headers_for(forge_of(name), event or event_of(name), data), data)


def only(name: str, change: Callable[[Body], object] = lambda body: None, *, event: str = "") -> Change:
    """The only change of a payload."""
    found = read(name, change, event=event)
    assert found.reason is None
    (one,) = found.changes
    return one
