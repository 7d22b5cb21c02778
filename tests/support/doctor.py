"""What `rapidflow doctor` says of a test's server."""

from __future__ import annotations

from tests.support.server import Server


def examined(server: Server, *arguments: str) -> tuple[int, list[str]]:
    """The exit code and the lines of `rapidflow doctor`, with DATA for the data folder."""
    done = server.command("doctor", *arguments)
    assert done.stderr == ""
    return done.returncode, done.stdout.replace(str(server.data), "DATA").splitlines()
