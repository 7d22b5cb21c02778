"""What is fetched into a mirror, which the caller has locked."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.repositories import COMMIT_ID, check_branch
from rapidflow_web.source.git import GitError, GitOptions, TooMuchPrinted, git, git_bytes

HEADS = "refs/rapidflow/heads"
"""The branches of the remote, as they were when one was last fetched."""
COMMITS = "refs/rapidflow/commits"
"""Each commit that was ever built."""
_BRANCHES = f"+refs/heads/*:{HEADS}/*"
_BATCH = 1000
"""References that one git takes away: a repository may have any number."""
_FETCHED = "refs/rapidflow/fetched"
_MOST_REFS = 16 * 1024 * 1024
"""Bytes that the list of all branches and tags may have, about 150,000 of them."""


async def _default_branch(mirror: Path, options: GitOptions) -> str:
    listing = await git("ls-remote", "--symref", "origin", "HEAD", cwd=mirror, options=options)
    match = re.match(r"ref: refs/heads/(\S+)\tHEAD", listing)
    if match is None:
        if not await _has_branches(mirror, options):
            raise BuildError("could not fetch the source: the repository has no branch; push a commit first")
        raise BuildError("could not fetch the source: the repository has no default branch; name a 'branch'")
    try:
        return check_branch(match[1])
    except ValueError as error:
        raise BuildError(f"could not fetch the source: {error}") from None


async def _has_branches(mirror: Path, options: GitOptions) -> bool:
    try:
        return bool(await git("ls-remote", "--heads", "origin", cwd=mirror, options=options))
    except TooMuchPrinted:
        return True


async def fetch_branch(mirror: Path, options: GitOptions, branch: str | None) -> tuple[str, str]:
    """Fetches the head of a branch, or of the default one, with all other branches and tags.

    Returns the commit and the branch. Raises `GitError` and `BuildError`.
    """
    branch = branch or await _default_branch(mirror, options)
    try:
        # Tags move, too.
        wanted = f"+refs/heads/{branch}:{_FETCHED}", _BRANCHES, "+refs/tags/*:refs/tags/*"
        await _fetch_refs(mirror, options, *wanted)
    except GitError as error:
        if "couldn't find remote ref" in str(error):
            said = f"could not fetch the source: there is no branch '{branch}' ({error})"
            raise NoSuchCommit(said) from None
        raise
    commit = (await git("rev-parse", "--verify", f"{_FETCHED}^{{commit}}", cwd=mirror)).strip()
    await _keep(mirror, commit)
    return commit, branch


async def fetch_commit(mirror: Path, options: GitOptions, commit: str) -> str:
    """Fetches a commit if it is not there. Raises `GitError` and `BuildError`."""
    if not COMMIT_ID.fullmatch(commit):
        raise BuildError(f"could not fetch the source: '{commit[:80]}' is not the id of a commit")
    if not await _has(mirror, commit):
        try:
            await _fetch_refs(mirror, options, f"+{commit}:{_FETCHED}")
        except GitError:
            # Not every server gives a commit by its id; one that a branch contains comes with the branch.
            await _fetch_refs(mirror, options, _BRANCHES)
            if not await _has(mirror, commit):
                raise
    await _keep(mirror, commit)
    return commit


@dataclass(frozen=True, slots=True)
class Fetched:
    """A commit that is in the mirror. `is_head` is whether the branch or tag asked for leads to it."""

    commit: str
    is_head: bool


async def fetch_everything(
    mirror: Path, options: GitOptions, commit: str | None, reference: str | None
) -> Fetched:
    """Fetches all branches and tags, and a commit that may be in none of them, but behind `reference`.

    Without a commit it is the one to which `reference` leads, a branch or tag. Raises `NoSuchCommit`,
    `NotACommit`, `GitError` and `BuildError`.
    """
    if commit is not None and not COMMIT_ID.fullmatch(commit):
        raise BuildError(f"could not fetch the source: '{commit[:80]}' is not the id of a commit")
    if commit is not None and await _value_of(mirror, reference) == commit and await is_kept(mirror, commit):
        return Fetched(commit, is_head=True)  # it came with another one
    await _fetch_refs(mirror, options, _BRANCHES, "+refs/tags/*:refs/tags/*")
    value = await _value_of(mirror, reference)
    if commit is None and value is None:
        raise NoSuchCommit(f"the repository has no {reference}")
    if commit is None or value == commit:
        # Git has made sure that a head which it fetched is there with all that belongs to it.
        await _keep(mirror, value or "")
        return Fetched(value or "", is_head=True)
    there = await _has(mirror, commit)
    for wanted in (commit, reference):
        if not there and wanted is not None:
            # Not every server gives a commit by its id, and not every reference is there yet.
            with contextlib.suppress(GitError):
                await _fetch_refs(mirror, options, f"+{wanted}:{_FETCHED}")
            there = await _has(mirror, commit)
    try:
        peeled = await git("rev-parse", "--verify", f"{commit}^{{commit}}", cwd=mirror) if there else ""
    except GitError:
        peeled = ""
    if there and not peeled:
        raise NotACommit(f"{reference or commit[:12]} leads to a file or a folder, not to a commit")
    if not peeled:
        raise NoSuchCommit(f"the repository has no commit {commit[:12]}")
    commit = peeled.strip()
    await _keep(mirror, commit)
    return Fetched(commit, is_head=commit == value)


class NoSuchCommit(GitError):
    """The server answers, and does not give the commit."""


class NotACommit(NoSuchCommit):
    """What the server gives is a file or a folder, to which tags can lead as well."""


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """The branches and tags of a remote, by full name, with the commits that they lead to."""

    default_branch: str | None
    values: dict[str, str]


async def list_refs(mirror: Path, options: GitOptions) -> RemoteRefs:
    """Asks a remote for its branches and tags. Raises `GitError`."""
    patterns = "HEAD", "refs/heads/*", "refs/tags/*"
    command = "ls-remote", "--symref", "origin", *patterns
    listing = await git_bytes(*command, cwd=mirror, options=options, most=_MOST_REFS)
    return await asyncio.to_thread(_read_refs, listing)


def _read_refs(listing: bytes) -> RemoteRefs:
    default: str | None = None
    values: dict[str, str] = {}
    # Any bytes may be in the names of refs.
    for line in listing.decode("utf-8", "replace").split("\n"):
        value, _, name = line.partition("\t")
        if name == "HEAD" and value.startswith("ref: refs/heads/"):
            default = value.removeprefix("ref: refs/heads/")
        elif name.startswith(("refs/heads/", "refs/tags/")) and COMMIT_ID.fullmatch(value):
            # An annotated tag comes before the commit that it leads to.
            values[name.removesuffix("^{}")] = value
    return RemoteRefs(default, values)


async def _value_of(mirror: Path, reference: str | None) -> str | None:
    """The commit to which a branch or tag led when it was last fetched."""
    if reference is None or not reference.startswith(("refs/heads/", "refs/tags/")):
        return None
    known = reference.replace("refs/heads", HEADS, 1)
    try:
        return (await git("rev-parse", "--verify", "--quiet", f"{known}^{{commit}}", cwd=mirror)).strip()
    except GitError:
        return None


async def is_kept(mirror: Path, commit: str) -> bool:
    """Whether a commit was fetched before, with all that belongs to it."""
    if await asyncio.to_thread((mirror / COMMITS / commit).is_file):
        return True  # which saves a process: all but the packed ones are files
    try:
        await git("rev-parse", "--verify", "--quiet", f"{COMMITS}/{commit}", cwd=mirror)
    except GitError:
        return False
    return True


async def _fetch_refs(mirror: Path, options: GitOptions, *references: str) -> None:
    await git(
        "fetch", options.progress_flag, "--force", "--prune", "--no-tags", "--no-auto-gc",
        "--no-write-fetch-head",
        # A repository on this machine may be a shallow clone.
        "--update-shallow", "--refmap=", "origin", *references, cwd=mirror, options=options,
    )  # fmt: skip


async def _has(mirror: Path, commit: str) -> bool:
    """Whether a commit is there with all that belongs to it; a fetch that was killed may leave a part."""
    try:
        await git("rev-list", "--objects", "--quiet", commit, "--not", "--all", cwd=mirror)
    except GitError:
        return False
    return True


async def forget_references(repository: Path, below: str) -> None:
    """Takes references away. Raises `GitError`."""
    listing = "for-each-ref", f"--count={_BATCH}", "--format=delete %(refname)", below
    while deletions := await git(*listing, cwd=repository):
        await git("update-ref", "--no-deref", "--stdin", cwd=repository, text=deletions)


async def _keep(mirror: Path, commit: str) -> None:
    """Keeps a commit, also when no branch has it any more."""
    await git("update-ref", f"{COMMITS}/{commit}", commit, cwd=mirror)
