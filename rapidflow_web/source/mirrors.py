"""A bare mirror for each repository, so that a further build fetches only what is new.

Mirrors keep every commit that was ever built, so that a retry finds its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import os
import re
import shutil
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.clone_credentials import Login, login_in, without_password
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.repositories import check_file_path, check_url, file_path
from rapidflow_web.removal import contents
from rapidflow_web.source.fetching import (
    NoSuchCommit,
    RemoteRefs,
    fetch_branch,
    fetch_commit,
    fetch_everything,
    forget_references,
    is_kept,
    list_refs,
)
from rapidflow_web.source.git import GitError, GitOptions, git, plain, without_credentials
from rapidflow_web.source.remote import Remote, remote_for
from rapidflow_web.source.servers import Allowed

_log = logging.getLogger(__name__)

_USED = "rapidflow-used"
"""A file in a mirror whose time says when a build last fetched it."""
_UNUSED = ".new"
"""The suffix of a mirror that is being made, or removed."""
_LEAST_UNUSED = 3600.0
_MANY_REFERENCES = 300


@dataclass(frozen=True, slots=True)
class Account:
    """On whose behalf source is fetched. What was fetched with a password is for that pipeline alone.

    For the pipelines of a repository, which share it, `pipeline_id` is `Vault.scope_of_repository`.
    """

    pipeline_id: int
    login: Login | None = None

    def login_for(self, url: str) -> Login | None:
        """The login for a URL: its own, as that of a submodule may have, else the pipeline's if it fits.

        Raises ValueError.
        """
        return login_in(url) or (self.login if self.login is not None and self.login.fits(url) else None)


NOBODY = Account(0)


@dataclass(frozen=True, slots=True)
class Source:
    """A commit in a mirror. `branch` is the one it was looked up by, None where a commit was asked for.

    `remote` is None where nobody is contacted, `account` is for whom it is fetched.
    The `url` has no password.
    """

    mirror: Path
    url: str
    commit: str
    branch: str | None
    remote: Remote | None = None
    account: Account = NOBODY

    @property
    def options(self) -> GitOptions:
        """The options with which git works with it, contacting nobody."""
        return GitOptions() if self.remote is None else self.remote.offline_options(self.mirror)

    def without_credentials(self) -> Source:
        """The same source, for which nothing is fetched with a login or key of the server's."""
        remote = self.remote and replace(self.remote, login=None, credentials=False, anonymous=True)
        return replace(self, remote=remote, account=Account(self.account.pipeline_id))


@dataclass(frozen=True, slots=True)
class MirrorSize:
    """A mirror, the bytes that it takes, and when a build last fetched it (seconds since 1970)."""

    path: Path
    size: int
    used_at: float


class Mirrors:
    """The mirrors in `folder`. `file_roots` are the folders below which `file://` repositories may lie.

    A fetch takes as long as `timeout` seconds, with the wait for another fetch of the same repository. What
    was fetched is packed for as long as `tidying` seconds, so that who waits has time left to fetch.
    `allowed` are the servers that a repository may name as if the pipeline did.
    """

    def __init__(
        self, folder: Path, file_roots: Sequence[str], timeout: float, allowed: Allowed = ()
    ) -> None:
        self._allowed = allowed
        self._folder = folder
        self._file_roots = tuple(file_roots)
        self.timeout = timeout
        self.tidying = timeout / 2
        self._fetching: weakref.WeakValueDictionary[Path, asyncio.Lock] = weakref.WeakValueDictionary()
        self._moving: weakref.WeakValueDictionary[Path, asyncio.Lock] = weakref.WeakValueDictionary()
        self._cleared: set[Path] = set()
        self._left: set[Path] = set()
        """Mirrors whose packing took too long. It would take as long again after each fetch."""

    async def fetch(
        self,
        url: str,
        branch: str | None = None,
        commit: str | None = None,
        account: Account = NOBODY,
        within: Source | None = None,
        *,
        everything: bool = False,
        reference: str | None = None,
    ) -> Source:
        """Fetches a commit: `commit` itself, else the head of `branch`, else that of the remote's HEAD.

        With `everything` all branches and tags come along, and `commit` may be behind another `reference`.
        For a submodule `within` is the source that names it, whose account counts. Raises `BuildError` with
        git's own words.
        """
        account = account if within is None else within.account
        login = self._checked(url, account)
        try:
            remote = remote_for(without_password(url), within and within.remote, login, self._allowed)
        except ValueError as error:
            raise BuildError(f"could not fetch the source: {error}") from None
        if within is not None and (within.remote is None or not _same_server(remote, within.remote)):
            # What was fetched from elsewhere is not to be given what the account has for the first server.
            account = Account(account.pipeline_id, login)
        mirror = self._folder / folder_name(remote.url, _whose(remote, account))
        try:
            async with asyncio.timeout(self.timeout) as limit, _lock(self._fetching, mirror):
                await self._ensure(mirror, remote.url)
                if commit is None or everything or not await is_kept(mirror, commit):
                    commit, branch = await self._fetch(
                        mirror, remote, branch, commit, everything=everything, reference=reference
                    )
                    limit.reschedule(None)
                    await self._tidy_up(mirror)
                await asyncio.to_thread((mirror / _USED).touch)
                # What is relative to a submodule with a login of its own is fetched with that.
                account = Account(account.pipeline_id, login or account.login)
                return Source(mirror, remote.url, commit, branch, remote, account)
        except TimeoutError:
            raise BuildError(
                f"could not fetch the source: it took longer than {format_duration(round(self.timeout))}"
            ) from None
        except NoSuchCommit:
            raise
        except GitError as error:
            raise BuildError(f"could not fetch the source: {error}") from error

    async def refs(self, url: str, account: Account = NOBODY) -> RemoteRefs:
        """Asks for the branches and tags of a repository. Raises `BuildError` with git's own words."""
        login = self._checked(url, account)
        remote = remote_for(without_password(url), None, login, self._allowed)
        mirror = self._folder / folder_name(remote.url, _whose(remote, account))
        try:
            async with asyncio.timeout(self.timeout):
                async with _lock(self._fetching, mirror):
                    await self._ensure(mirror, remote.url)
                return await remote.contact(mirror, lambda options: list_refs(mirror, options))
        except TimeoutError:
            raise BuildError(f"the repository did not answer within {self.timeout:.0f} s") from None
        except GitError as error:
            raise BuildError(f"could not look at the repository: {error}") from error

    async def _fetch(
        self,
        mirror: Path,
        remote: Remote,
        branch: str | None,
        commit: str | None,
        *,
        everything: bool,
        reference: str | None,
    ) -> tuple[str, str | None]:
        """The commit that was fetched, and the branch by which it was looked up."""

        async def fetch(options: GitOptions) -> tuple[str, str | None]:
            if everything and commit is not None:
                return await fetch_everything(mirror, options, commit, reference), branch
            if commit is not None:
                return await fetch_commit(mirror, options, commit), branch
            return await fetch_branch(mirror, options, branch)

        try:
            return await remote.contact(mirror, fetch)
        except GitError as error:
            if "mismatched algorithms" not in str(error):
                raise
        # Whether ids are SHA-1 or SHA-256 is known only now, and what a mirror begins with is what it keeps.
        was = (await git("rev-parse", "--show-object-format", cwd=mirror)).strip()
        async with self.unmoved(mirror):
            await asyncio.to_thread(_remove, mirror)
            await self._ensure(mirror, remote.url, "sha256" if was == "sha1" else "sha1")
        return await remote.contact(mirror, fetch)

    async def _tidy_up(self, mirror: Path) -> None:
        """Packs the mirror's objects and references once in a while."""
        if mirror in self._left:
            return
        async with _lock(self._moving, mirror):
            try:
                async with asyncio.timeout(self.tidying):
                    if await asyncio.to_thread(_has_many_references, mirror):
                        await git("pack-refs", "--all", cwd=mirror)
                    await git("gc", "--auto", "--quiet", cwd=mirror)
            except GitError as error:
                _log.warning("%s: %s", mirror, error)
            except TimeoutError:
                self._left.add(mirror)
                await asyncio.to_thread(_clear_away, mirror)
                _log.warning(
                    "%s: packing it took longer than %.0f s; it is tried again when the server is restarted",
                    mirror,
                    self.tidying,
                )

    async def unused(self, most: int) -> list[MirrorSize]:
        """The longest unused mirrors, without which the others take at most `most` bytes.

        None that a build of the last hour fetched: it may not have been checked out yet.
        """
        mirrors = await asyncio.to_thread(_sizes, self._folder)
        excess = sum(mirror.size for mirror in mirrors) - most
        found: list[MirrorSize] = []
        for mirror in sorted(mirrors, key=lambda mirror: mirror.used_at):
            if excess <= 0 or mirror.used_at > time.time() - _LEAST_UNUSED:
                break
            found.append(mirror)
            excess -= mirror.size
        return found

    async def remove(self, mirror: Path) -> None:
        """Removes a mirror; the next build of the repository fetches all of it."""
        async with self.unmoved(mirror, unfetched=True):
            await asyncio.to_thread(_remove, mirror)

    def clear_away(self) -> None:
        """Removes mirrors that a killed server was making or removing; before anything is fetched."""
        for path in contents(self._folder):
            if path.suffix == _UNUSED:
                shutil.rmtree(path, ignore_errors=True)

    async def with_passwords(self) -> dict[Path, str]:
        """Mirrors that an older version made, which have a URL with a password, and the URL."""
        return await asyncio.to_thread(_with_passwords, self._folder)

    async def take_out_passwords(self, owners: Mapping[Login, Sequence[int]]) -> None:
        """Gives such a mirror to the pipelines that have its login; one that nobody has goes."""
        for mirror, url in (await self.with_passwords()).items():
            with contextlib.suppress(ValueError):
                login = login_in(url)
                for pipeline_id in owners.get(login, ()) if login is not None else ():
                    await self._give(mirror, without_password(url), pipeline_id)
            await asyncio.to_thread(_remove, mirror)

    async def _give(self, mirror: Path, url: str, pipeline_id: int) -> None:
        target = self._folder / folder_name(url, pipeline_id)
        fresh = target.with_suffix(_UNUSED)
        if target.exists() or mirror.suffix == _UNUSED:
            return
        await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
        await asyncio.to_thread(shutil.copytree, mirror, fresh, copy_function=os.link)
        # Git writes a file anew to change it, so that those with links to it keep theirs.
        await git("config", "remote.origin.url", url, cwd=fresh)
        await asyncio.to_thread(fresh.rename, target)

    @contextlib.asynccontextmanager
    async def unmoved(self, mirror: Path, *, unfetched: bool = False) -> AsyncGenerator[None]:
        """Meanwhile no object in the mirror is moved. With `unfetched` none is added either."""
        async with contextlib.AsyncExitStack() as stack:
            if unfetched:
                await stack.enter_async_context(_lock(self._fetching, mirror))
            await stack.enter_async_context(_lock(self._moving, mirror))
            yield

    def _checked(self, url: str, account: Account) -> Login | None:
        """The login for a URL from which may be fetched. Raises `BuildError`."""
        # Once more, and through symbolic links: what was allowed when the pipeline was stored may not be now.
        try:
            check_url(url, self._file_roots)
            if url.startswith("file://"):
                real_roots = [os.path.realpath(root) for root in self._file_roots]
                check_file_path(os.path.realpath(file_path(url)), real_roots)
            return account.login_for(url)
        except ValueError as error:
            words = plain(without_credentials(str(error)))
            raise BuildError(f"could not fetch the source: {words}") from None

    async def _ensure(self, mirror: Path, url: str, object_format: str = "sha1") -> None:
        first_time = mirror not in self._cleared
        self._cleared.add(mirror)
        if await asyncio.to_thread(_is_whole, mirror, first_time):
            if first_time:
                # An older version kept branches under their own names, where a clone takes them for its own.
                await forget_references(mirror, "refs/heads")
            return
        # Made beside and moved, so that a killed server leaves no half a mirror.
        fresh = mirror.with_suffix(_UNUSED)
        await git(
            "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", str(fresh),
            cwd=self._folder,
        )  # fmt: skip
        for key, value in {
            "remote.origin.url": url,
            "gc.pruneExpire": "never",
            "gc.autoDetach": "false",
        }.items():
            await git("config", key, value, cwd=fresh)
        await asyncio.to_thread(fresh.rename, mirror)


def _with_passwords(folder: Path) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for mirror in contents(folder):
        with contextlib.suppress(OSError):
            text = (mirror / "config").read_text(encoding="utf-8", errors="surrogateescape")
            url = re.search(r"^\s*url = \"?([^\s\"]+)", text, re.MULTILINE)
            if url is not None and without_password(url[1]) != url[1]:
                found[mirror] = url[1]
    return found


def _sizes(folder: Path) -> list[MirrorSize]:
    found: list[MirrorSize] = []
    for mirror in contents(folder):
        # Files come and go in it while git works.
        with contextlib.suppress(OSError):
            used = mirror / _USED
            used_at = (used if used.exists() else mirror).stat().st_mtime
            size = sum(path.lstat().st_blocks * 512 for path in mirror.rglob("*"))
            found.append(MirrorSize(mirror, size, used_at))
    return found


def _has_many_references(mirror: Path) -> bool:
    """Whether reading them takes git noticeably long, for each is a file."""
    references = (mirror / "refs").rglob("*")
    return next(itertools.islice(references, _MANY_REFERENCES, None), None) is not None


def _lock(locks: weakref.WeakValueDictionary[Path, asyncio.Lock], mirror: Path) -> asyncio.Lock:
    return locks.setdefault(mirror, asyncio.Lock())


def _is_whole(mirror: Path, first_time: bool) -> bool:
    """Whether there is a mirror that can be used; clears away what a killed git left behind."""
    shutil.rmtree(mirror.with_suffix(_UNUSED), ignore_errors=True)
    if not (mirror / "HEAD").exists():
        shutil.rmtree(mirror, ignore_errors=True)
        return False
    if first_time:
        _clear_away(mirror)
    return True


def _remove(mirror: Path) -> None:
    """Removes a mirror so that a part of it is never taken for one. Raises `OSError`."""
    unused = mirror.with_suffix(_UNUSED)
    if unused != mirror:
        shutil.rmtree(unused, ignore_errors=True)
        mirror.rename(unused)
    shutil.rmtree(unused)


def _clear_away(mirror: Path) -> None:
    """Removes what a git left that was killed, while none works there."""
    for pattern in ("*.lock", "tmp_*", ".tmp-*", "gc.pid"):
        for path in mirror.rglob(pattern):
            path.unlink(missing_ok=True)


def _same_server(one: Remote, other: Remote) -> bool:
    return one.server == other.server or (one.server is not None and one.server.is_at(other.server))


def _whose(remote: Remote, account: Account) -> int | str | None:
    """Who may read what was fetched: a pipeline, anybody's repository, or any pipeline."""
    if remote.login is not None:
        return account.pipeline_id
    return None if remote.credentials else "without credentials"


def folder_name(url: str, whose: int | str | None) -> str:
    """Unlike for unlike URLs, and readable for the person who looks into the folder.

    `whose` is the id of a pipeline that alone has the mirror, because it was fetched with a password, or
    another word that keeps it apart.
    """
    public = without_credentials(url)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", public.partition("://")[2] or public).strip("-.")[-60:]
    name = url if whose is None else f"{url}\n{whose}"
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:24]}.git"
