"""A bare mirror for each repository, so that a further build fetches only what is new.

Mirrors keep every commit that was ever built, so that a retry finds its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
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
from rapidflow_web.progress import Progress
from rapidflow_web.removal import contents
from rapidflow_web.source import mirror_folders
from rapidflow_web.source.fetching import (
    Fetched,
    NoSuchCommit,
    RemoteRefs,
    fetch_branch,
    fetch_commit,
    fetch_everything,
    forget_references,
    is_kept,
    list_refs,
)
from rapidflow_web.source.git import GitError, GitOptions, git, memory_limit, plain, without_credentials
from rapidflow_web.source.outages import patiently
from rapidflow_web.source.remote import Remote, remote_for
from rapidflow_web.source.servers import Allowed

_log = logging.getLogger(__name__)

_LEAST_UNUSED = 3600.0


@dataclass(frozen=True, slots=True)
class Account:
    """On whose behalf source is fetched. What was fetched with a password is for that `scope` alone.

    It is the id of a pipeline, `Vault.scope_of_repository` for the pipelines of a repository, which share it,
    or the words of an upload.
    """

    scope: int | str
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

    `remote` is None where nobody is contacted, `account` is for whom it is fetched. `is_head` is whether the
    branch or tag that was asked for, along with everything, leads to it. The `url` has no password. Git may
    allocate `memory` bytes at once to check it out.
    """

    mirror: Path
    url: str
    commit: str
    branch: str | None
    remote: Remote | None = None
    account: Account = NOBODY
    is_head: bool = False
    memory: int | None = None

    @property
    def options(self) -> GitOptions:
        """The options with which git works with it, contacting nobody."""
        options = GitOptions() if self.remote is None else self.remote.offline_options(self.mirror)
        return options if self.memory is None else options + memory_limit(self.memory)

    def without_credentials(self) -> Source:
        """The same source, for which nothing is fetched with a login or key of the server's."""
        remote = self.remote and replace(self.remote, login=None, credentials=False, anonymous=True)
        return replace(self, remote=remote, account=Account(self.account.scope))


class Mirrors:
    """The mirrors in `folder`. `file_roots` are the folders below which `file://` repositories may lie.

    A fetch takes as long as `timeout` seconds, with the wait for another fetch of the same repository. A
    mirror is packed for as long as `tidying` seconds, so that who waits has time left to fetch.
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
        self._grown: set[Path] = set()
        """Mirrors into which something was fetched since they were last packed."""
        self._left: set[Path] = set()
        """Mirrors whose packing took too long. It would take as long again each time."""

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
        progress: Progress | None = None,
        patient: bool = False,
    ) -> Source:
        """Fetches a commit: `commit` itself, else the head of `branch`, else that of the remote's HEAD.

        With `everything` all branches and tags come along, and `commit` may be behind another `reference`,
        or is the one to which that leads. `progress` is told how far it is. With `patient` a server that
        can't be reached is asked again for a minute, if something was ever fetched from it.
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
            account = Account(account.scope, login)
        mirror = self._folder / mirror_folders.name(remote.url, _whose(remote, account))
        # What is relative to a submodule with a login of its own is fetched with that.
        account = Account(account.scope, login or account.login)
        fetch = functools.partial(
            self._fetch_now, mirror, remote, account, branch, commit, progress,
            everything=everything, reference=reference,
        )  # fmt: skip
        try:
            # One that never answered is likely to be misspelt.
            if patient and await asyncio.to_thread((mirror / mirror_folders.USED).exists):
                return await patiently(fetch, progress)
            return await fetch()
        except TimeoutError:
            raise BuildError(
                f"could not fetch the source: it took longer than {format_duration(round(self.timeout))}"
            ) from None
        except NoSuchCommit:
            raise
        except GitError as error:
            raise BuildError(f"could not fetch the source: {error}") from error

    async def _fetch_now(
        self,
        mirror: Path,
        remote: Remote,
        account: Account,
        branch: str | None,
        commit: str | None,
        progress: Progress | None,
        *,
        everything: bool,
        reference: str | None,
    ) -> Source:
        """What `fetch` gives, in one try. Raises `GitError`, `TimeoutError`."""
        is_head = False
        async with asyncio.timeout(self.timeout) as limit, _lock(self._fetching, mirror):
            await self._ensure(mirror, remote.url)
            if commit is None or everything or not await is_kept(mirror, commit):
                fetched, branch = await self._fetch(
                    mirror, remote, branch, commit, progress, everything=everything, reference=reference
                )
                commit, is_head = fetched.commit, fetched.is_head
                self._grown.add(mirror)
                limit.reschedule(None)
                if await asyncio.to_thread(mirror_folders.has_many_references, mirror):
                    await self._pack(mirror, "pack-refs", "--all")
            await asyncio.to_thread((mirror / mirror_folders.USED).touch)
        return Source(mirror, remote.url, commit, branch, remote, account, is_head)

    async def refs(self, url: str, account: Account = NOBODY) -> RemoteRefs:
        """Asks for the branches and tags of a repository. Raises `BuildError` with git's own words."""
        login = self._checked(url, account)
        remote = remote_for(without_password(url), None, login, self._allowed)
        mirror = self._folder / mirror_folders.name(remote.url, _whose(remote, account))
        try:
            async with asyncio.timeout(self.timeout):
                async with _lock(self._fetching, mirror):
                    await self._ensure(mirror, remote.url)
                return await remote.contact(mirror, lambda options: list_refs(mirror, options))
        except TimeoutError:
            raise BuildError(f"the repository did not answer within {self.timeout:.0f} s") from None
        except GitError as error:
            raise BuildError(f"could not look at the repository: {error}") from error

    async def known(self, url: str, account: Account) -> list[Path]:
        """The mirrors of a repository from which this account may read. Raises ValueError."""
        login = account.login_for(url)
        public = without_password(url)
        whose = [account.scope] if login is not None else [None, "without credentials"]
        mirrors = [self._folder / mirror_folders.name(public, one) for one in whose]
        return await asyncio.to_thread(lambda: [mirror for mirror in mirrors if mirror.is_dir()])

    async def _fetch(
        self,
        mirror: Path,
        remote: Remote,
        branch: str | None,
        commit: str | None,
        progress: Progress | None,
        *,
        everything: bool,
        reference: str | None,
    ) -> tuple[Fetched, str | None]:
        """The commit that was fetched, and the branch by which it was looked up."""

        async def fetch(options: GitOptions) -> tuple[Fetched, str | None]:
            options += GitOptions(progress=progress)
            if everything:
                return await fetch_everything(mirror, options, commit, reference), branch
            if commit is not None:
                return Fetched(await fetch_commit(mirror, options, commit), is_head=False), branch
            head, name = await fetch_branch(mirror, options, branch)
            return Fetched(head, is_head=False), name

        try:
            return await remote.contact(mirror, fetch)
        except GitError as error:
            if "mismatched algorithms" not in str(error):
                raise
        # Whether ids are SHA-1 or SHA-256 is known only now, and what a mirror begins with is what it keeps.
        was = (await git("rev-parse", "--show-object-format", cwd=mirror)).strip()
        async with self.unmoved(mirror):
            await asyncio.to_thread(mirror_folders.remove, mirror)
            await self._ensure(mirror, remote.url, "sha256" if was == "sha1" else "sha1")
        return await remote.contact(mirror, fetch)

    async def tidy_up(self) -> None:
        """Packs the objects of mirrors that have grown, where there are many, one mirror at a time."""
        while self._grown:
            mirror = self._grown.pop()
            async with _lock(self._fetching, mirror):
                if await asyncio.to_thread(mirror.is_dir):
                    await self._pack(mirror, "gc", "--auto", "--quiet")

    async def _pack(self, mirror: Path, *command: str) -> None:
        """Has git pack a mirror, which the caller has locked. One that can't be packed is used as it is."""
        if mirror in self._left:
            return
        async with _lock(self._moving, mirror):
            try:
                async with asyncio.timeout(self.tidying):
                    await git(*command, cwd=mirror)
            except GitError as error:
                _log.warning("%s: %s", mirror, error)
            except TimeoutError:
                self._left.add(mirror)
                await asyncio.to_thread(mirror_folders.clear_away, mirror)
                _log.warning(
                    "%s: packing it took longer than %.0f s; it is tried again when the server is restarted",
                    mirror,
                    self.tidying,
                )

    async def unused(self, most: int) -> list[mirror_folders.MirrorSize]:
        """The longest unused mirrors, without which the others take at most `most` bytes.

        None that a build of the last hour fetched: it may not have been checked out yet.
        """
        mirrors = await asyncio.to_thread(mirror_folders.sizes, self._folder)
        excess = sum(mirror.size for mirror in mirrors) - most
        found: list[mirror_folders.MirrorSize] = []
        for mirror in sorted(mirrors, key=lambda mirror: mirror.used_at):
            if excess <= 0 or mirror.used_at > time.time() - _LEAST_UNUSED:
                break
            found.append(mirror)
            excess -= mirror.size
        return found

    async def remove(self, mirror: Path) -> None:
        """Removes a mirror; the next build of the repository fetches all of it."""
        async with self.unmoved(mirror, unfetched=True):
            await asyncio.to_thread(mirror_folders.remove, mirror)

    def clear_away(self) -> None:
        """Removes mirrors that a killed server was making or removing; before anything is fetched."""
        for path in contents(self._folder):
            if path.suffix == mirror_folders.UNUSED:
                shutil.rmtree(path, ignore_errors=True)

    async def with_passwords(self) -> dict[Path, str]:
        """Mirrors that an older version made, which have a URL with a password, and the URL."""
        return await asyncio.to_thread(mirror_folders.with_passwords, self._folder)

    async def take_out_passwords(self, owners: Mapping[Login, Sequence[int]]) -> None:
        """Gives such a mirror to the pipelines that have its login; one that nobody has goes."""
        for mirror, url in (await self.with_passwords()).items():
            with contextlib.suppress(ValueError):
                login = login_in(url)
                for pipeline_id in owners.get(login, ()) if login is not None else ():
                    await self._give(mirror, without_password(url), pipeline_id)
            await asyncio.to_thread(mirror_folders.remove, mirror)

    async def _give(self, mirror: Path, url: str, pipeline_id: int) -> None:
        target = self._folder / mirror_folders.name(url, pipeline_id)
        fresh = target.with_suffix(mirror_folders.UNUSED)
        if target.exists() or mirror.suffix == mirror_folders.UNUSED:
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
        if await asyncio.to_thread(mirror_folders.is_whole, mirror, first_time):
            if first_time:
                # An older version kept branches under their own names, where a clone takes them for its own.
                await forget_references(mirror, "refs/heads")
            return
        # Made beside and moved, so that a killed server leaves no half a mirror.
        fresh = mirror.with_suffix(mirror_folders.UNUSED)
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


def _lock(locks: weakref.WeakValueDictionary[Path, asyncio.Lock], mirror: Path) -> asyncio.Lock:
    return locks.setdefault(mirror, asyncio.Lock())


def _same_server(one: Remote, other: Remote) -> bool:
    return one.server == other.server or (one.server is not None and one.server.is_at(other.server))


def _whose(remote: Remote, account: Account) -> int | str | None:
    """Who may read what was fetched: a pipeline or upload, anybody's repository, or any pipeline."""
    if remote.login is not None:
        return account.scope
    return None if remote.credentials else "without credentials"
