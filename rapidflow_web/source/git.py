"""Runs git: never prompting, with its own words when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from rapidflow_web.errors import BuildError

_ALLOWED = "https:ssh:git:file"
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_NOISE = re.compile(
    r"^(remote: )?(Enumerating|Counting|Compressing|Total|Receiving|Resolving|hint:).*$", re.MULTILINE
)
_PATIENCE = 2.0
"""Seconds that a git has to take its lock files away when it is stopped."""

# Variables that say which repository git works on (`git rev-parse --local-env-vars`); a server that was
# started from a hook or a rebase has them.
_LOCAL = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE", "GIT_QUARANTINE_PATH",
)  # fmt: skip


def _environment() -> dict[str, str]:
    # The server user's own configuration counts: that is how private repositories are reached.
    environment = {key: value for key, value in os.environ.items() if key not in _LOCAL}
    return environment | {
        "LC_ALL": "C",
        # Nobody is there to answer. Without a terminal, which a new session has not, ssh asks nothing either.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_ALLOW_PROTOCOL": _ALLOWED,
        # A hook of the system's template folder has no business in a fetch.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": os.devnull,
    }


class GitError(BuildError):
    """Git failed. The message is git's own, without credentials."""


async def git(*arguments: str, cwd: Path | None = None) -> str:
    """What `git ARGUMENTS` prints. Raises `GitError`. When it is cancelled, git and its children are gone."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=cwd,
        env=_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            await _stop(process)
    if process.returncode != 0:
        raise GitError(_words(errors, arguments))
    return output.decode("utf-8", "surrogateescape")


async def _stop(process: asyncio.subprocess.Process) -> None:
    # Helpers such as ssh and git-remote-https are in the same session.
    try:
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            os.killpg(process.pid, signal.SIGTERM)
            async with asyncio.timeout(_PATIENCE):
                await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _words(errors: bytes, arguments: Sequence[str]) -> str:
    text = without_credentials(_NOISE.sub("", errors.decode("utf-8", "replace")))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return f"git {arguments[0]} failed and did not say why"
    return " ".join(lines)[-1000:]


def without_credentials(text: str) -> str:
    """The text with user names and passwords taken out of the URLs in it."""
    return _CREDENTIALS.sub("", text)
