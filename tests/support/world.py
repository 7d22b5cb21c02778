"""A server with users of all roles."""

from __future__ import annotations

import json
from typing import Any

from tests.support.server import Answer, Server
from tests.support.users import add_user, as_, token_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


class World:
    """A server with one user of each role, a pipeline, and a finished build of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pipeline = server.pipeline({"name": "open", "steps": ["echo out"]})
        self.job = server.wait_finished(server.start_build(self.pipeline))["job"]["id"]
        for role in ("admin", "builder", "viewer"):
            add_user(server, role, role)
        self.tokens = {role: token_of(server, role) for role in ("admin", "builder", "viewer")}

    def ask(self, method: str, path: str, who: str | None, body: Any = None, **headers: str) -> Answer:
        """A request with the token of a role, or with none."""
        data = None if body is None else json.dumps(body)
        given = as_(self.tokens[who]) if who is not None else {}
        return self.server.request(method, path, data, {**given, **(JSON if data else {}), **headers})


def stored(server: Server) -> bytes:
    """All that the database holds, what is not yet in its file, too."""
    return b"".join(path.read_bytes() for path in server.data.glob("rapidflow.db*"))
