"""What is in a build's root, as a tar archive, packed while the build's container starts.

The program tar packs a source. Without one there are only a few files, and to start programs for them, here
and in the container, would take a quarter of the time that a build takes to begin. Where they are small, no
archive is made, but commands for the agent's shell.
"""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from rapidflow_web.errors import BuildError, one_line
from rapidflow_web.executors.agent import protocol
from rapidflow_web.progress import ByteCount, Progress, untold

_DIFFERS = 1
"""The exit code of a tar that saw a file changed. Where it has nothing else to say, nobody wrote to it: a
build beside this one linked the same object of the repository into its own workspace, or removed its own."""


class Archive:
    """An archive of `root`, which must be complete before `begin`. Of one that has begun, call `close`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tar: subprocess.Popen[bytes] | None = None
        self._packed: io.BytesIO | None = None
        """All of it, where there is no source."""
        self._commands: bytes | None = None
        """What makes all of it, where that is possible."""
        self._complaints: IO[bytes] | None = None
        self.progress: Progress = untold
        """Is told how much was read."""
        self._count = ByteCount(untold)

    async def begin(self, owner: tuple[int, int] = (0, 0)) -> None:
        """Begins to pack; goes on as it is read. `owner` is the user and group of all that is in it."""
        await self.close()
        self._count = ByteCount(lambda detail, _done=None: self.progress(detail))
        # In a thread: to start a program takes some milliseconds, in which a container could be created.
        await asyncio.to_thread(self._begin, owner)

    def _begin(self, owner: tuple[int, int]) -> None:
        try:
            if not any((self._root / "workspace").iterdir()):
                self._commands = protocol.make_command(self._files())
                self._packed = self._pack(owner) if self._commands is None else None
                return
        except OSError as error:
            path = error.filename or self._root
            raise BuildError(f"could not pack the source: {path}: {error.strerror}") from error
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the program
        self._tar = subprocess.Popen(  # noqa: S603
            [  # noqa: S607
                "tar", "--create", "--format=gnu", f"--owner=:{owner[0]}", f"--group=:{owner[1]}",
                "--numeric-owner", "--warning=no-file-changed",
                "--directory", str(self._root), "rapidflow", "workspace",
            ],
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )  # fmt: skip

    def _files(self) -> dict[str, bytes]:
        """The files there are, by their paths in the root."""
        found = (path for path in (self._root / "rapidflow").rglob("*") if path.is_file())
        return {str(path.relative_to(self._root)): path.read_bytes() for path in found}

    def _pack(self, owner: tuple[int, int]) -> io.BytesIO:
        """As tar does it."""

        def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid, entry.gid = owner
            entry.uname = entry.gname = ""
            return entry

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name in ("rapidflow", "workspace"):
                archive.add(self._root / name, name, filter=owned)
        packed.seek(0)
        return packed

    async def commands(self) -> bytes | None:
        """What makes all of it, to be sent to the agent; None where the archive must be unpacked."""
        if not self._has_begun:
            await self.begin()
        return self._commands

    async def read(self, count: int) -> bytes:
        """`count` bytes, fewer only at the end. Raises `BuildError` where not all could be packed."""
        if not self._has_begun:
            await self.begin()
        chunk = self._packed.read(count) if self._packed else await asyncio.to_thread(self._read, count)
        self._count.add(len(chunk))
        return chunk

    def _read(self, count: int) -> bytes:
        tar, complaints = self._tar, self._complaints
        if tar is None or tar.stdout is None or complaints is None:
            return b""
        chunk = tar.stdout.read(count)
        if not chunk and (code := tar.wait()) != 0:
            complaints.seek(0)
            reason = one_line(complaints.read().decode("utf-8", "replace"))
            if reason or code != _DIFFERS:
                raise BuildError(f"could not pack the source: {reason}")
        return chunk

    def forget_secrets(self) -> None:
        """Removes the variables from the disk, now that the agent has them; not where it reads them there."""
        if self._has_begun:
            (self._root / "rapidflow" / "env").unlink(missing_ok=True)

    async def close(self) -> None:
        """Ends the packing. Safe to call again."""
        if self._tar is not None:
            await asyncio.to_thread(self._close)
        self._packed = self._commands = None

    @property
    def _has_begun(self) -> bool:
        return not (self._tar is None and self._packed is None and self._commands is None)

    def _close(self) -> None:
        tar, self._tar = self._tar, None
        if tar is not None and tar.stdout is not None:
            tar.kill()
            tar.wait()
            tar.stdout.close()
        if self._complaints is not None:
            self._complaints.close()
