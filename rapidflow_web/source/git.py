"""Runs git: never prompting, with its own words when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.clone_credentials import Login
from rapidflow_web.processes import Program
from rapidflow_web.progress import Progress
from rapidflow_web.source import ssh
from rapidflow_web.source.git_progress import Errors, GitProgress

_ALLOWED = "https:ssh:git:file"
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_NOISE = re.compile(
    r"^(remote: )?(Enumerating|Counting|Compressing|Total|Receiving|Unpacking|Resolving|Updating|hint:).*$",
    re.MULTILINE,
)
_LOGIN = re.compile(r"could not read (Username|Password) for |Authentication failed for ")
_REMOTE_ERROR = re.compile(r"(remote error): .*")
_OVER_LIMIT = re.compile(rb"attempting to allocate \d+ over limit (\d+)")
_NOT_GIT = re.compile(r"protocol error: bad line length character: .*")
_MOST_WORDS = 1000
_PATIENCE = 2.0
"""Seconds that a git has to take its lock files away when it is stopped."""
_MARK = "RAPIDFLOW_GIT_IN"
"""The variable by which the gits of a server are found that was killed; its value is where they work."""
_KILL_TRIES = 500
_KILL_SECONDS = 0.01
_MOST_OUTPUT = 1024 * 1024
"""Bytes. What is not text takes the event loop 30 ms then."""
_LONGEST_RECORD = 1024 * 1024
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


@dataclass(frozen=True, slots=True)
class GitOptions:
    """What a git is given beyond what each is: variables, of which None takes one away, and settings.

    With `quiet` its errors have nothing of what a server said. `progress` is told how far it is, as far as
    it says that.
    """

    variables: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"], repr=False)
    settings: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    quiet: bool = False
    progress: Progress | None = field(default=None, repr=False, compare=False)

    @property
    def progress_flag(self) -> str:
        """The option with which git says how far it is, or nothing."""
        return "--quiet" if self.progress is None else "--progress"

    @property
    def has_login(self) -> bool:
        """Whether they have the login of a pipeline."""
        return _USER in self.variables

    def __add__(self, other: GitOptions) -> GitOptions:
        return GitOptions(
            {**self.variables, **other.variables},
            self.settings + other.settings,
            self.quiet or other.quiet,
            other.progress or self.progress,
        )


_PLAIN = GitOptions()
_SETTINGS = (
    # A hook of the system's template folder has no business in a fetch.
    ("core.hooksPath", os.devnull),
    # Nor has a server in naming another from which to download, whatever the server's user has configured.
    ("transfer.bundleURI", "false"),
    ("fetch.uriProtocols", ""),
    # Mirrors are bare, and `explicit` refuses these wherever a repository is found by its folder.
    ("safe.bareRepository", "all"),
    # Files are as the repository has them, also where the server's user converts those of a work tree.
    ("core.autocrlf", "false"),
    ("core.eol", "lf"),
    ("core.symlinks", "true"),
    ("core.attributesFile", os.devnull),
    ("i18n.logOutputEncoding", "UTF-8"),
)


def _environment(cwd: Path, options: GitOptions) -> dict[str, str]:
    # The server user's own configuration counts: that is how private repositories are reached.
    environment = {key: value for key, value in os.environ.items() if key not in _LOCAL}
    settings: dict[str, str] = {}
    chosen = _SETTINGS + options.settings
    for number, (key, value) in enumerate(chosen):
        settings |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    all_of_them: dict[str, str | None] = {
        **environment,
        _MARK: str(cwd.absolute()),
        "LC_ALL": "C",
        # Nobody is there to answer. Without a terminal, which a new session has not, ssh asks nothing either.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_ALLOW_PROTOCOL": _ALLOWED,
        # Attributes are those of the repository, as `_SETTINGS` says.
        "GIT_ATTR_NOSYSTEM": "1",
        # A repository on this machine that lacks objects would fetch them as its own configuration says.
        "GIT_NO_LAZY_FETCH": "1",
        # Else it keeps quiet for two seconds.
        "GIT_PROGRESS_DELAY": "0",
        "GIT_CONFIG_COUNT": str(len(chosen)),
        **settings,
        **options.variables,
    }
    return {key: value for key, value in all_of_them.items() if value is not None}


def login_options(login: Login | None) -> GitOptions:
    """The options with which git logs in. They hold the password, which no command line does.

    Only for its own server, wherever that redirects to. The helpers that the server's user configured are not
    asked about that one, nor told to keep the password.
    """
    if login is None:
        return _PLAIN
    helper = f"credential.{login.origin}.helper"
    return GitOptions({_USER: login.user, _PASSWORD: login.password}, ((helper, ""), (helper, _HELPER)))


def memory_limit(most: int) -> GitOptions:
    """Options with which git allocates at most so many bytes at once, or raises `TooMuchMemory`.

    Files that are larger go through it in pieces, unless they are stored as the difference to another.
    """
    return GitOptions({"GIT_ALLOC_LIMIT": str(most)}, (("core.bigFileThreshold", str(most // 2)),))


class GitError(BuildError):
    """Git failed. The message is git's own, without credentials."""


class TooMuchPrinted(GitError):
    """Git printed more than is kept."""


class TooMuchMemory(GitError):
    """Git would have allocated more than it may."""


async def git(
    *arguments: str, cwd: Path, options: GitOptions = _PLAIN, umask: int | None = None, text: str = ""
) -> str:
    """What `git ARGUMENTS` prints in the folder `cwd` after it read `text`, with more options where given.

    Raises `GitError`, and `TooMuchPrinted` where it prints more than 1 MiB. When it is cancelled, git and its
    children are gone.
    """
    output = await _output(arguments, cwd, options, umask, _MOST_OUTPUT, text)
    return output.decode("utf-8", "surrogateescape")


async def git_bytes(
    *arguments: str, cwd: Path, options: GitOptions = _PLAIN, most: int, text: str = ""
) -> bytes:
    """The same, of up to `most` bytes, which the caller makes text of in a thread."""
    return await _output(arguments, cwd, options, None, most, text)


async def _output(
    arguments: Sequence[str], cwd: Path, options: GitOptions, umask: int | None, most: int, text: str = ""
) -> bytes:
    output = bytearray()

    def take(chunk: bytes) -> None:
        output.extend(chunk)
        if len(output) > most:
            # Who wrote the repository may mean harm.
            raise TooMuchPrinted(f"git {arguments[0]} printed more than {most // 1024**2} MiB")

    await _run(arguments, cwd, options, umask, take, text.encode("utf-8", "surrogateescape"))
    return bytes(output)


async def git_records(*arguments: str, cwd: Path, take: Callable[[bytes], None]) -> None:
    """Gives `take` each of the records, ended by NUL, that `git ARGUMENTS` prints, and keeps none.

    Raises `GitError`, and what `take` raises.
    """
    rest = b""

    def split(chunk: bytes) -> None:
        nonlocal rest
        *whole, rest = (rest + chunk).split(b"\0")
        for record in whole:
            take(record)
        if len(rest) > _LONGEST_RECORD:
            raise GitError(f"git {arguments[0]} printed a line of more than {_LONGEST_RECORD // 1024} KiB")

    await _run(arguments, cwd, _PLAIN, None, split)


async def _run(
    arguments: Sequence[str],
    cwd: Path,
    options: GitOptions,
    umask: int | None,
    take: Callable[[bytes], None],
    text: bytes = b"",
) -> None:
    with Program(
        "git",
        *arguments,
        cwd=cwd,
        env=_environment(cwd, options),
        has_input=bool(text),
        start_new_session=True,
        umask=umask,
    ) as process:
        said = asyncio.ensure_future(_last(process, options.progress))
        given = asyncio.ensure_future(process.give(text))
        try:
            while chunk := await process.read():
                take(chunk)
            errors = await said
            code = await process.wait()
        finally:
            said.cancel()
            given.cancel()
            if process.code is None:
                await _stop(process)
    if code != 0:
        if (match := _OVER_LIMIT.search(errors)) is not None:
            most = int(match[1]) // 1024**2
            raise TooMuchMemory(f"one of its files, folders or messages takes more than {most} MiB of memory")
        raise GitError(_words(errors, arguments[0], quiet=options.quiet))


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


async def _last(process: Program, progress: Progress | None) -> bytes:
    """The end of its errors, which may be what a server across the network says for as long as it likes."""
    errors = Errors(_CHUNK, skips=progress is not None)
    told = GitProgress(progress) if progress is not None else None
    while chunk := await process.read_errors():
        errors.feed(chunk)
        if told is not None:
            told.feed(chunk)
    return errors.end


async def _stop(process: Program) -> None:
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


def _words(errors: bytes, command: str, *, quiet: bool) -> str:
    # Whatever follows a progress in its line.
    text = errors.decode("utf-8", "replace").replace("\r", "\n")
    text = without_credentials(_NOISE.sub("", text))
    lines = [plain(line).strip() for line in text.splitlines()]
    if quiet:
        lines = [_REMOTE_ERROR.sub(r"\1", line) for line in lines if not line.startswith("remote:")]
    words = " ".join(_NOT_GIT.sub("the server did not answer like git", line) for line in lines if line)
    if not words:
        return f"git {command} failed and did not say why"
    words = ssh.explained(words)[-_MOST_WORDS:]
    if _LOGIN.search(words):
        return (
            f"{words}; if it is private, put a user and a password or token that it takes into 'repo_name', "
            "as in https://user:password@host/path"
        )
    return words


def plain(text: str) -> str:
    """The text with a space for whatever would move the cursor of whoever reads it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def without_credentials(text: str) -> str:
    """The text with user names and passwords taken out of the URLs in it."""
    return _CREDENTIALS.sub("", text)
