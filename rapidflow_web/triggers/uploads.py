"""Working trees that people send to have them built before they push: who may, how much, how long it is kept.

A working tree comes as a commit without parents, is kept until a day after its last build, and is built with
the definition that stands in it (see `reading`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator

from rapidflow_web.builds import disk
from rapidflow_web.db import pipelines, uploads
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.trigger_models import Upload
from rapidflow_web.errors import (
    BadRequest,
    BuildError,
    Forbidden,
    Invalid,
    Problem,
    RequestError,
    TooManyRequests,
)
from rapidflow_web.pipeline.repositories import COMMIT_ID
from rapidflow_web.settings import Settings
from rapidflow_web.shielding import to_the_end
from rapidflow_web.source.git import GitError
from rapidflow_web.source.uploads import UploadedTrees

_log = logging.getLogger(__name__)

_MOST_OF_USER = 10
"""How many times the limit of one upload those of a user may take together."""
_WAIT = 60.0
_LOOKED_AFTER = 16 * 1024**2
"""Bytes after which the server looks again how full the disk is."""
_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))


class NotStored(RequestError):
    """The disk of the server does not take an upload."""

    status = 500


def _not_stored(reason: str) -> NotStored:
    return NotStored(f"the server can't store the upload: {reason}; try again later")


class Uploads:
    """Takes uploads and lets them go."""

    def __init__(self, settings: Settings, trees: UploadedTrees) -> None:
        self._most = settings.upload_limit
        self._data = settings.data
        self._trees = trees

    async def checked(self, pipeline_id: int, commit: str | None) -> str:
        """The commit, where an upload of it can be taken. Raises `NotFound`, `Forbidden`, `BadRequest`,
        `NotStored`.
        """
        pipeline = await pipelines.existing(pipeline_id)
        if not self._most:
            raise Forbidden("this server builds no uploaded working trees; push a branch instead")
        if pipeline.path is None:
            raise BadRequest(
                f"the definition of pipeline {pipeline_id} is stored on the server; only pipelines of "
                "repositories build working trees"
            )
        if commit is None or not COMMIT_ID.fullmatch(commit):
            raise BadRequest("say which commit is uploaded by its full hash: ?commit=HASH")
        if (problem := await asyncio.to_thread(disk.problem, self._data)) is not None:
            raise NotStored(f"the server takes no uploads now: {problem}")
        return commit

    async def take(self, pipeline_id: int, commit: str, owner: str, parts: AsyncIterator[bytes]) -> Upload:
        """Stores what comes, a pack of the commit. Whatever fails, nothing of it stays.

        Raises `BadRequest` where it is no such pack, `TooManyRequests` where the owner has uploaded much,
        `NotStored`, and what `parts` raises.
        """
        upload = await self._begin(pipeline_id, owner)
        try:
            await self._trees.receive(upload.id, self._while_there_is_room(parts))
            size = await self._trees.unpack(upload.id, commit)
            return await uploads.arrived(upload.id, commit, size)
        except BuildError as error:
            # Asked before its room is given back.
            problem = await to_the_end(self._problem(error))
            await to_the_end(self._discard(upload.id))
            if problem is not None:
                _log.warning("an upload could not be checked: %s", error)
                raise _not_stored(problem) from None
            raise BadRequest(str(error)) from None
        except BaseException as error:
            await to_the_end(self._discard(upload.id))
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise _not_stored(error.strerror or str(error)) from error
            raise

    async def _while_there_is_room(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The parts. Raises `NotStored` where other things could soon not be written any more."""
        size = 0
        async for part in parts:
            yield part
            size += len(part)
            if size > _LOOKED_AFTER:
                size = 0
                if (problem := await asyncio.to_thread(disk.problem, self._data)) is not None:
                    raise _not_stored(problem)

    async def _problem(self, error: BuildError) -> str | None:
        """Why it is not the upload's fault that it could not be checked; None where it is."""
        if (problem := await asyncio.to_thread(disk.problem, self._data)) is not None:
            return problem
        if (said := next((words for words in _FULL if words in str(error)), None)) is not None:
            return said
        return "git failed, and the server's log says how" if isinstance(error, GitError) else None

    async def _begin(self, pipeline_id: int, owner: str) -> Upload:
        while True:
            try:
                return await uploads.begin(pipeline_id, owner, self._most, self._most * _MOST_OF_USER)
            except uploads.NoRoom:
                oldest = await uploads.built(owner)
                if not oldest:
                    raise TooManyRequests(
                        "your uploads that wait to be built take all the room that you may have; "
                        "try again when some of them have been built",
                        _WAIT,
                    ) from None
                await self._remove(oldest[0])

    async def existing(self, upload_id: int, pipeline_id: int, owner: str) -> Upload:
        """An upload that its owner may have built. Raises `NotFound`, `Invalid`."""
        await pipelines.existing(pipeline_id)
        upload = await uploads.of_owner(upload_id, pipeline_id, owner)
        if upload is None or not self._trees.has(upload_id):
            said = f"you have no upload {upload_id} for this pipeline; upload the working tree again"
            raise Invalid([Problem("upload", said)])
        return upload

    async def clear_away(self) -> None:
        """Removes what a killed server was taking; before anything comes."""
        await uploads.forget_unfinished()
        known = await uploads.ids()
        # A backup has no uploads, only their rows.
        present = {upload_id for upload_id in known if self._trees.has(upload_id)}
        await uploads.forget([upload_id for upload_id in known if upload_id not in present])
        await asyncio.to_thread(self._trees.clear_away, present)

    async def forget(self) -> None:
        """Removes what nobody has built for long, and what removed users have uploaded.

        What is being built goes once it is not used any more.
        """
        for upload_id in await uploads.expired(now_ms()):
            await self._remove(upload_id)

    async def _discard(self, upload_id: int) -> None:
        # The files first: while they fill the disk, the database can't be written.
        await self._trees.remove(upload_id)
        await uploads.remove(upload_id)

    async def _remove(self, upload_id: int) -> None:
        # The row first: what has none is removed at the next start.
        if await uploads.remove(upload_id):
            await self._trees.remove(upload_id)
