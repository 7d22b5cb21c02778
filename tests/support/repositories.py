"""Repositories whose definitions a server reads, for tests."""

from __future__ import annotations

import json
from typing import Any

from tests.support.deliveries import ZERO
from tests.support.repos import Repo
from tests.support.server import Answer, Server, wait_for


def definition(name: str = "ci", on: str = "push", steps: str = "echo built", more: str = "") -> str:
    """A definition file."""
    return f"name: {name}\non: {on}\n{more}steps:\n  - {steps}\n"


def add(server: Server, repo: Repo, **more: Any) -> dict[str, Any]:
    """Adds a repository, and has it never be looked at."""
    answer = server.post("/repositories", {"url": repo.url, **more})
    assert answer.status == 201, answer.text
    put(server, answer.json["id"], poll="off")
    return answer.json


def put(server: Server, repository_id: int, **fields: Any) -> Answer:
    headers = {"Content-Type": "application/json"}
    return server.request("PUT", f"/repositories/{repository_id}", json.dumps(fields), headers)


def pushed(server: Server, repository_id: int, *lines: str) -> int:
    """Sends what git gives to post-receive; returns the delivery once it is handled."""
    answer = server.request(
        "POST", f"/repositories/{repository_id}/refs", "\n".join(lines), {"Content-Type": "text/plain"}
    )
    assert answer.status == 202, answer.text
    return handled(server, answer.json["delivery"])


def handled(server: Server, delivery_id: int) -> int:
    """Waits until a delivery is handled."""
    wait_for(lambda: server.get(f"/deliveries/{delivery_id}").json["handled_at"], "the delivery is handled")
    return delivery_id


def push(server: Server, repository_id: int, repo: Repo, ref: str = "refs/heads/main") -> dict[str, Any]:
    """Tells the server that a ref has changed; returns the event that this made."""
    new = repo.git("rev-parse", f"{ref}^{{commit}}")
    pushed(server, repository_id, f"{ZERO} {new} {ref}")
    return events(server, repository_id)[0]


def events(server: Server, repository_id: int) -> list[dict[str, Any]]:
    """What has happened at a repository, newest first."""
    return server.get(f"/repositories/{repository_id}/events").json
