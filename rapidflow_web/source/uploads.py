"""Working trees that people sent, each as a commit in a repository of its own.

None of it gets into the mirror of a repository, whose commits count as its own. Only git unpacks it: a pack
has no paths that lead out of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.removal import contents, remove_folder
from rapidflow_web.shielding import to_the_end
from rapidflow_web.source.fetching import COMMITS
from rapidflow_web.source.git import (
    GitError,
    GitOptions,
    TooMuchMemory,
    TooMuchPrinted,
    git,
    git_records,
    memory_limit,
)
from rapidflow_web.source.mirrors import Account, Source
from rapidflow_web.source.remote import remote_for
from rapidflow_web.source.servers import Allowed

_log = logging.getLogger(__name__)

_UNFINISHED = ".new"
"""The suffix of what is on its way."""
_RECEIVED = "received"
_AT_ONCE = 2
"""Packs that are checked at a time."""
_MOST_UNPACKED = 10
"""How many times its limit an upload may have once it is unpacked."""
_MOST_ENTRIES = 200_000
"""Files and folders of an upload; a few hundred bytes can make millions of paths."""
_MEMORY = 200 * 1024**2
"""Bytes that git may allocate at once: those of a pack can stand for any number."""
_ONE_THREAD = GitOptions(settings=(("pack.threads", "1"),))
_WITHOUT_DELTAS = "pack it with 'git pack-objects --revs --stdout --window=0 --no-reuse-delta'"


class UploadedTrees:
    """The uploads in `folder`, by id. Each may have `most` bytes, and is checked for `timeout` seconds.

    `allowed` are the servers that a tree may name for its submodules.
    """

    def __init__(self, folder: Path, most: int, timeout: float, allowed: Allowed = ()) -> None:
        self._folder = folder
        self._most = most
        self._timeout = timeout
        self._allowed = allowed
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def receive(self, upload_id: int, parts: AsyncIterator[bytes]) -> None:
        """Writes what comes to the disk. Raises `OSError`, and what `parts` raises."""
        # What a thread is doing can't be cancelled: it must not go on once the file is closed and removed.
        fresh = self._fresh(upload_id)
        await to_the_end(asyncio.to_thread(fresh.mkdir))
        with (fresh / _RECEIVED).open("xb", buffering=0) as file:
            async for part in parts:
                await to_the_end(asyncio.to_thread(_write, file.fileno(), part))

    async def unpack(self, upload_id: int, commit: str) -> int:
        """Makes a repository of what came, which has to be this commit with its files and nothing before it.

        Returns how many bytes it takes. Raises `BuildError` with the reason where it is anything else, and
        `GitError` where git failed for another reason, as on a full disk.
        """
        fresh = self._fresh(upload_id)
        try:
            async with self._slots, asyncio.timeout(self._timeout):
                await self._unpack(fresh, commit)
        except TimeoutError:
            patience = format_duration(round(self._timeout))
            raise BuildError(f"checking the uploaded files took longer than {patience}") from None
        path = self._path(upload_id)
        await to_the_end(asyncio.to_thread(fresh.rename, path))
        return await asyncio.to_thread(_size, path)

    async def _unpack(self, fresh: Path, commit: str) -> None:
        object_format = "sha256" if len(commit) == 64 else "sha1"
        await git(
            "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", str(fresh),
            cwd=self._folder,
        )  # fmt: skip
        pack = fresh / "objects" / "pack" / f"pack-{commit}.pack"
        await to_the_end(asyncio.to_thread((fresh / _RECEIVED).rename, pack))
        await to_the_end(asyncio.to_thread(pack.chmod, 0o444))
        options = _ONE_THREAD + memory_limit(_MEMORY)
        try:
            # With all checks of fsck, and that nothing is missing.
            await git("index-pack", "--strict", str(pack.relative_to(fresh)), cwd=fresh, options=options)
        except TooMuchMemory as error:
            raise BuildError(f"the upload can't be unpacked: {error}; {_WITHOUT_DELTAS}") from None
        except GitError as error:
            words = str(error).replace(f"{fresh}/", "")
            raise BuildError(f"the upload is not a complete pack of a commit: {words}") from None
        try:
            kind = await git("cat-file", "-t", commit, cwd=fresh)
        except GitError:
            kind = ""
        if kind.strip() != "commit":
            raise BuildError(f"the upload does not contain the commit {commit[:12]}")
        await self._check_parents(fresh, commit)
        await git("update-ref", f"{COMMITS}/{commit}", commit, cwd=fresh)
        await self._check_size(fresh, commit)

    async def _check_parents(self, fresh: Path, commit: str) -> None:
        try:
            found = await git("rev-list", "--no-walk", "--parents", commit, cwd=fresh)
        except TooMuchPrinted:
            found = ""
        if found.split() != [commit]:
            raise BuildError(
                f"the commit {commit[:12]} has parents; upload one without, as 'git commit-tree' makes it"
            )

    async def _check_size(self, fresh: Path, commit: str) -> None:
        most, size, entries = self._most * _MOST_UNPACKED, 0, 0

        def take(record: bytes) -> None:
            nonlocal size, entries
            entries += 1
            if entries > _MOST_ENTRIES:
                raise BuildError(f"the working tree has more than {_MOST_ENTRIES:,} files and folders")
            # Names take room, too, and the same file may be there a million times.
            text = record.partition(b"\t")[0].split()[-1]
            size += len(record) + (int(text) if text.isdigit() else 0)
            if size > most:
                raise BuildError(f"the files of the working tree have more than {most // 1024**2} MiB")

        # With folders, which may be as many without a file.
        try:
            await git_records("ls-tree", "-r", "-t", "-l", "-z", commit, cwd=fresh, take=take)
        except GitError as error:
            _log.info("the files of an upload can't be listed: %s", error)
            raise BuildError(
                "git can't list the files of the working tree; its folders may be nested too deeply"
            ) from None

    def source(self, upload_id: int, url: str, commit: str) -> Source:
        """An upload as the source of a build. Raises `BuildError` where it is gone.

        `url` is that of the repository to which it belongs. Whatever the tree names, such as submodules, is
        fetched without any login but one in its own URL, and that for this upload alone.
        """
        path = self._path(upload_id)
        if not self.has(upload_id):
            raise BuildError(
                "the uploaded working tree is not kept any more; run 'rapidflow run' in it again"
            )
        remote = remote_for(url, None, None, self._allowed)
        account = Account(f"upload {upload_id} of {commit}")
        memory = max(_MEMORY, self._most)
        return Source(path, remote.url, commit, None, remote, account, memory=memory).without_credentials()

    def has(self, upload_id: int) -> bool:
        """Whether an upload is still kept."""
        return (self._path(upload_id) / "HEAD").exists()

    async def remove(self, upload_id: int) -> None:
        """Removes an upload, also one of which only a part has come."""
        for path in (self._path(upload_id), self._fresh(upload_id)):
            await asyncio.to_thread(remove_folder, path)

    def clear_away(self, known: Collection[int]) -> None:
        """Removes all but these, before anything comes: what a killed server was taking or removing."""
        kept = {self._path(upload_id) for upload_id in known}
        for path in contents(self._folder):
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, upload_id: int) -> Path:
        return self._folder / f"{upload_id}.git"

    def _fresh(self, upload_id: int) -> Path:
        return self._path(upload_id).with_suffix(_UNFINISHED)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _size(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
