"""A bare mirror for each repository, so that a further build fetches only what is new.

Mirrors keep every commit that was ever fetched (nothing is pruned), so that a retry finds its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.repositories import check_url
from rapidflow_web.source.git import GitError, git

_OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Source:
    """A commit in a mirror. `branch` is the one it was looked up by, None where a commit was asked for."""

    mirror: Path
    url: str
    commit: str
    branch: str | None


class Mirrors:
    """The mirrors in `folder`. `file_roots` are the folders below which `file://` repositories may lie."""

    def __init__(self, folder: Path, file_roots: Sequence[str], timeout: float) -> None:
        self._folder = folder
        self._file_roots = tuple(file_roots)
        self._timeout = timeout
        self._locks: weakref.WeakValueDictionary[Path, asyncio.Lock] = weakref.WeakValueDictionary()

    async def fetch(self, url: str, branch: str | None = None, commit: str | None = None) -> Source:
        """Fetches a commit: `commit` itself, else the head of `branch`, else that of the remote's HEAD.

        Raises `BuildError` with git's own words.
        """
        self._check(url)
        mirror = self._folder / _folder_name(url)
        lock = self._locks.setdefault(mirror, asyncio.Lock())
        try:
            async with asyncio.timeout(self._timeout), lock:
                await self._ensure(mirror, url)
                if commit is not None:
                    return Source(mirror, url, await self._fetch_commit(mirror, commit), branch)
                branch = branch or await self._default_branch(mirror)
                return Source(mirror, url, await self._fetch_branch(mirror, branch), branch)
        except TimeoutError:
            raise BuildError(f"could not fetch the source: it took longer than {self._timeout:.0f} s") from None
        except GitError as error:
            raise BuildError(f"could not fetch the source: {error}") from error

    def _check(self, url: str) -> None:
        # Once more, and through symbolic links: what was allowed when the pipeline was stored may not be now.
        try:
            check_url(url, self._file_roots)
            if url.startswith("file://"):
                real_roots = [os.path.realpath(root) for root in self._file_roots]
                check_url("file://" + os.path.realpath(unquote(url.removeprefix("file://"))), real_roots)
        except ValueError as error:
            raise BuildError(f"could not fetch the source: {error}") from None

    async def _ensure(self, mirror: Path, url: str) -> None:
        if (mirror / "HEAD").exists():
            return
        # Made beside and moved, so that a killed server leaves no half a mirror.
        fresh = mirror.with_suffix(f".new-{os.getpid()}")
        await git("init", "--quiet", "--bare", "--template=", str(fresh))
        for key, value in {
            "remote.origin.url": url,
            "gc.pruneExpire": "never",
            "gc.autoDetach": "false",
        }.items():
            await git("config", key, value, cwd=fresh)
        await asyncio.to_thread(fresh.rename, mirror)

    async def _default_branch(self, mirror: Path) -> str:
        listing = await git("ls-remote", "--symref", "origin", "HEAD", cwd=mirror, timeout=self._timeout)
        match = re.match(r"ref: refs/heads/(\S+)\tHEAD", listing)
        if match is None:
            raise BuildError("could not fetch the source: the repository has no default branch; name a 'branch'")
        return match[1]

    async def _fetch_branch(self, mirror: Path, branch: str) -> str:
        reference = f"refs/heads/{branch}"
        await self._fetch_refs(mirror, f"+{reference}:{reference}")
        return (await git("rev-parse", "--verify", f"{reference}^{{commit}}", cwd=mirror)).strip()

    async def _fetch_commit(self, mirror: Path, commit: str) -> str:
        if not _OBJECT_ID.fullmatch(commit):
            raise BuildError(f"could not fetch the source: '{commit[:80]}' is not the id of a commit")
        if await _has(mirror, commit):
            return commit
        try:
            await self._fetch_refs(mirror, commit)
        except GitError:
            # Not every server gives a commit by its id; one that a branch contains comes with the branch.
            await self._fetch_refs(mirror, "+refs/heads/*:refs/heads/*")
            if not await _has(mirror, commit):
                raise
        return commit

    async def _fetch_refs(self, mirror: Path, reference: str) -> None:
        await git(
            "fetch", "--quiet", "--force", "--no-write-fetch-head", "origin", reference,
            cwd=mirror, timeout=self._timeout,
        )  # fmt: skip


async def _has(mirror: Path, commit: str) -> bool:
    try:
        await git("cat-file", "-e", f"{commit}^{{commit}}", cwd=mirror)
    except GitError:
        return False
    return True


def _folder_name(url: str) -> str:
    """Unlike for unlike URLs, and readable for the person who looks into the folder."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", url.partition("://")[2] or url).strip("-.")[-60:]
    return f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.git"
