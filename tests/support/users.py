"""Users of a server that a test made, added as an administrator does: with the command."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlencode

from tests.support import fork_server
from tests.support.server import Answer, Server, wait_for

PASSWORD = "correct horse"


def add_user(server: Server, name: str, role: str, *, cheap: bool = True) -> None:
    """Adds a user with the password PASSWORD; the server, if it runs, knows when this returns.

    A third of a second of CPU time goes into each check of a password that is not `cheap`.
    """
    more = {fork_server.CHEAP_HASHES: "1"} if cheap else {}
    done = server.command("user", "add", name, "--role", role, input=f"{PASSWORD}\n", more=more)
    assert done.returncode == 0, done.stderr
    if server.process is not None:
        wait_for(lambda: server.get("/me").status == 401, "the server asks for a login")


def token_of(server: Server, name: str, *options: str) -> str:
    """A new token of a user."""
    done = server.command("token", "add", name, "for a test", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def as_(token: str) -> dict[str, str]:
    """The headers of a request with a token."""
    return {"Authorization": f"Bearer {token}"}


def until_slowed(attempt: Callable[[], Answer]) -> list[Answer]:
    """Fails again and again, until the wait is longer than a request takes; returns all answers."""
    answers: list[Answer] = []
    deadline = time.monotonic() + 120
    while not answers or int(answers[-1].headers.get("retry-after", "0")) < 8:
        assert time.monotonic() < deadline, "nobody was slowed down"
        answers.append(attempt())
        if answers[-1].status == 429:
            time.sleep(0.2)
    return answers


def session_of(server: Server, name: str, password: str = PASSWORD) -> str:
    """Logs in; returns the cookie."""
    form = urlencode({"name": name, "password": password})
    answer = server.request("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 303, answer.text
    return answer.headers["set-cookie"].partition(";")[0]
