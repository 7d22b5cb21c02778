"""What git knows of commits in a mirror, contacting nobody: files, messages, ancestors, changed files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rapidflow_web.source.fetching import HEADS
from rapidflow_web.source.git import GitError, TooMuchPrinted, git, git_bytes, git_records

MAX_CHANGED = 10_000
"""Changed files that are told; of more it is not known which they are."""
_MOST_ENTRIES = 10_000
_LARGEST_HEAD = 100
"""Bytes of the line in which git tells of an object."""
_SECONDS = 30.0
"""How long git may take to find something out: who made the repository may have made that slow."""


class TooManyEntries(GitError):
    """A folder with more files than anybody needs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a commit. `mode` is git's, such as 100644; `size` is in bytes, None for what is no file."""

    path: str
    mode: str
    blob: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. `title` is the first line of its `message`."""

    id: str
    author: str
    message: str

    @property
    def title(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0].strip()[:300]


async def entries(mirror: Path, commit: str, *paths: str) -> list[Entry]:
    """The files of a commit at these paths; one that ends in a slash stands for all that is right in it.

    Raises `GitError`, `TooManyEntries`.
    """
    found: list[Entry] = []

    def take(record: bytes) -> None:
        head, _, path = record.decode("utf-8", "replace").partition("\t")
        mode, kind, blob, size = head.split()
        if kind == "tree":
            return
        found.append(Entry(path, mode, blob, int(size) if size.isdigit() else None))
        if len(found) > _MOST_ENTRIES:
            raise TooManyEntries(f"the commit {commit[:12]} has more than {_MOST_ENTRIES} such files")

    async with _limit(f"list the files of the commit {commit[:12]}"):
        await git_records("ls-tree", "-z", "-l", commit, "--", *paths, cwd=mirror, take=take)
    return found


async def contents(mirror: Path, files: Sequence[Entry]) -> list[bytes]:
    """What is in files whose sizes were looked at before, read by one git. Raises `GitError`."""
    if not files:
        return []
    most = sum((file.size or 0) + _LARGEST_HEAD for file in files)
    names = "".join(f"{file.blob}\n" for file in files)
    async with _limit(f"read {len(files)} files"):
        said = await git_bytes("cat-file", "--batch", cwd=mirror, text=names, most=most)
    found: list[bytes] = []
    at = 0
    for file in files:
        begin = said.find(b"\n", at) + 1
        head = said[at:begin].split()
        if head[1:2] != [b"blob"] or int(head[2]) != file.size:
            raise GitError(f"the repository lacks the file {file.path}")
        at = begin + int(head[2]) + 1
        found.append(said[begin : at - 1])
    return found


async def commit_of(mirror: Path, commit: str) -> Commit:
    """A commit by its id. Raises `GitError`. A message over a megabyte counts as none."""
    show = "log", "-1", "--no-show-signature", "--format=%an%x00%B", commit, "--"
    try:
        async with _limit(f"read the commit {commit[:12]}"):
            said = await git(*show, cwd=mirror)
    except TooMuchPrinted:
        return Commit(commit, "", "")
    author, _, message = said.encode("utf-8", "surrogateescape").decode("utf-8", "replace").partition("\0")
    return Commit(commit, author.strip()[:200], message.strip("\n"))


async def between(mirror: Path, old: str, new: str, most: int) -> list[Commit]:
    """The commits that lead to `new` and not to `old`, newest first, with their titles as messages.

    Raises `GitError`, also where one of them is not there.
    """
    found: list[Commit] = []

    def take(record: bytes) -> None:
        text = record.decode("utf-8", "replace").lstrip("\n")
        hash_, author, title = [*text.split("\x1f", 2), "", ""][:3]
        found.append(Commit(hash_, author[:200], title[:300]))

    command = "log", "-z", "--no-show-signature", f"--max-count={most}", "--format=%H%x1f%an%x1f%s"
    async with _limit("list commits"):
        await git_records(*command, f"{old}..{new}", "--", cwd=mirror, take=take)
    return found


async def is_ancestor(mirror: Path, old: str, new: str) -> bool:
    """Whether `old` is `new`, or one of its ancestors. False also where one of them is not there."""
    return await _said(mirror, "merge-base", "--is-ancestor", old, new) is not None


async def merge_base(mirror: Path, one: str, other: str) -> str | None:
    """The newest common ancestor; None where there is none."""
    return (await _said(mirror, "merge-base", one, other) or "").split("\n")[0] or None


async def changed(mirror: Path, base: str, commit: str) -> tuple[str, ...] | None:
    """The paths of files that differ between two commits; None where that can't be known."""
    found: list[str] = []

    def take(record: bytes) -> None:
        found.append(record.decode("utf-8", "replace"))
        if len(found) > MAX_CHANGED:
            raise GitError("too many files differ")

    command = "diff-tree", "-r", "-z", "--name-only", "--no-renames", base, commit
    try:
        async with asyncio.timeout(_SECONDS):
            await git_records(*command, cwd=mirror, take=take)
    except (GitError, TimeoutError):
        return None
    return tuple(found)


async def is_own(mirror: Path, commit: str, branch: str | None = None) -> bool:
    """Whether a branch or tag of the repository, as last fetched, has the commit. A fork's has none.

    Where it is probably in a `branch`, that is asked first, which is faster. Raises `GitError`.
    """
    if branch is not None and await is_ancestor(mirror, commit, f"{HEADS}/{branch}"):
        return True
    query = "for-each-ref", "--count=1", f"--contains={commit}", "--format=%(refname)", HEADS, "refs/tags"
    async with _limit("find the branches that have the commit"):
        return bool(await git(*query, cwd=mirror))


async def head_of(mirror: Path, branch: str) -> str | None:
    """The commit at the head of a branch, as last fetched; None where there is no such branch."""
    reference = f"{HEADS}/{branch}^{{commit}}"
    return (await _said(mirror, "rev-parse", "--verify", "--quiet", reference) or "").strip() or None


@asynccontextmanager
async def _limit(what: str) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except TimeoutError:
        raise GitError(f"git took longer than {_SECONDS:.0f} s to {what}") from None


async def _said(mirror: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or takes too long."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await git(*arguments, cwd=mirror)
    except (GitError, TimeoutError):
        return None
