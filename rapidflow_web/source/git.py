"""Runs git: never prompting, with its own words when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.logins import Login
from rapidflow_web.source import ssh

_ALLOWED = "https:ssh:git:file"
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_NOISE = re.compile(
    r"^(remote: )?(Enumerating|Counting|Compressing|Total|Receiving|Resolving|hint:).*$", re.MULTILINE
)
_LOGIN = re.compile(r"could not read (Username|Password) for |Authentication failed for ")
_PATIENCE = 2.0
"""Seconds that a git has to take its lock files away when it is stopped."""
_MARK = "RAPIDFLOW_GIT_IN"
"""The variable by which the gits of a server are found that was killed; its value is where they work."""
_KILL_TRIES = 500
_KILL_SECONDS = 0.01
_MOST_OUTPUT = 64 * 1024 * 1024
_CHUNK = 64 * 1024

# Variables that say which repository git works on (`git rev-parse --local-env-vars`); a server that was
# started from a hook or a rebase has them.
_LOCAL = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE", "GIT_QUARANTINE_PATH",
)  # fmt: skip


_USER, _PASSWORD = "RAPIDFLOW_GIT_USER", "RAPIDFLOW_GIT_PASSWORD"
_HELPER = (
    f"""!f() {{ test "$1" != get || printf 'username=%s\\npassword=%s\\n' "${_USER}" "${_PASSWORD}"; }}; f"""
)
"""What git asks for a password. printf is a command of every shell's own, so it is no process."""


def _environment(cwd: Path) -> dict[str, str]:
    # The server user's own configuration counts: that is how private repositories are reached.
    environment = {key: value for key, value in os.environ.items() if key not in _LOCAL}
    return environment | {
        _MARK: str(cwd.absolute()),
        "LC_ALL": "C",
        # Nobody is there to answer. Without a terminal, which a new session has not, ssh asks nothing either.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_ALLOW_PROTOCOL": _ALLOWED,
        # A repository on this machine that lacks objects would fetch them as its own configuration says.
        "GIT_NO_LAZY_FETCH": "1",
        # A hook of the system's template folder has no business in a fetch.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": os.devnull,
    }


def login_variables(login: Login | None) -> dict[str, str]:
    """The variables with which git logs in. They hold the password, which no command line does.

    Only for its own server, wherever that redirects to. The helpers that the server's user configured are not
    asked about that one, nor told to keep the password.
    """
    if login is None:
        return {}
    helper = f"credential.{login.origin}.helper"
    return {
        "GIT_CONFIG_COUNT": "3",  # one more is in every environment
        "GIT_CONFIG_KEY_1": helper,
        "GIT_CONFIG_VALUE_1": "",
        "GIT_CONFIG_KEY_2": helper,
        "GIT_CONFIG_VALUE_2": _HELPER,
        _USER: login.user,
        _PASSWORD: login.password,
    }


class GitError(BuildError):
    """Git failed. The message is git's own, without credentials."""


async def git(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """What `git ARGUMENTS` prints in the folder `cwd`, with more variables where they are given.

    Raises `GitError`. When it is cancelled, git and its children are gone.
    """
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=cwd,
        env=_environment(cwd) | dict(environment or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    said = asyncio.ensure_future(_last(cast(asyncio.StreamReader, process.stderr)))
    try:
        output = await _all(cast(asyncio.StreamReader, process.stdout), arguments)
        errors = await said
        await process.wait()
    finally:
        said.cancel()
        if process.returncode is None:
            await _stop(process)
    if process.returncode != 0:
        raise GitError(_words(errors, arguments))
    return output.decode("utf-8", "surrogateescape")


def end_strays(root: Path) -> None:
    """Ends what a server that was killed has left of its gits that work below `root`, with their children."""
    for _ in range(_KILL_TRIES):
        strays = _strays(root.absolute())
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if not strays:
            return
        time.sleep(_KILL_SECONDS)


def _strays(root: Path) -> list[int]:
    """The processes that were started by `git` and work below `root`."""
    mark, found = f"{_MARK}={root}/".encode(), list[int]()
    for entry in Path("/proc").glob("[0-9]*"):
        # One that has just ended, or is another user's, can't be read.
        with contextlib.suppress(OSError):
            pid, variables = int(entry.name), (entry / "environ").read_bytes().split(b"\0")
            # What a git leaves running on purpose, such as a cache of credentials, leads no session.
            if any(variable.startswith(mark) for variable in variables) and os.getsid(pid) == pid:
                found.append(pid)
    return found


async def _all(stream: asyncio.StreamReader, arguments: Sequence[str]) -> bytes:
    """All that comes. Raises `GitError` where that is too much: who wrote the repository may mean harm."""
    output = bytearray()
    while chunk := await stream.read(_CHUNK):
        output += chunk
        if len(output) > _MOST_OUTPUT:
            raise GitError(f"git {arguments[0]} printed more than {_MOST_OUTPUT // 1024**2} MiB")
    return bytes(output)


async def _last(stream: asyncio.StreamReader) -> bytes:
    """The end of what comes, which may be what a server across the network says for as long as it likes."""
    end = b""
    while chunk := await stream.read(_CHUNK):
        end = (end + chunk)[-_CHUNK:]
    return end


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
    # A server may send what would move the cursor of whoever reads it.
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return f"git {arguments[0]} failed and did not say why"
    words = ssh.explained(" ".join(lines))[-1000:]
    if _LOGIN.search(words):
        return (
            f"{words}; if it is private, put a user and a password or token that it takes into 'repo_name', "
            "as in https://user:password@host/path"
        )
    return words


def without_credentials(text: str) -> str:
    """The text with user names and passwords taken out of the URLs in it."""
    return _CREDENTIALS.sub("", text)
