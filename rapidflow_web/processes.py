"""Programs that the server runs beside its event loop.

asyncio with uvloop starts a program by a fork, which copies the page tables of the whole server: 20 ms of CPU
time for each, half of it on the loop. `subprocess` does without, in one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO

_CHUNK = 64 * 1024


class Program:
    """A program that runs.

    Whoever starts one uses it as a context manager, which closes its streams and does not wait for its end.
    """

    def __init__(
        self,
        *command: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        has_input: bool = False,
        has_errors: bool = True,
        start_new_session: bool = False,
        umask: int | None = None,
    ) -> None:
        """Starts it. Without `has_input` it has none; without `has_errors`, its errors go nowhere.

        Raises `OSError`.
        """
        self._process = subprocess.Popen(  # noqa: S603
            command,
            bufsize=0,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if has_errors else subprocess.DEVNULL,
            start_new_session=start_new_session,
            umask=-1 if umask is None else umask,
        )
        self.pid = self._process.pid
        self._input, self._output, self._errors = (
            None if stream is None else _Stream(stream)
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr)
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._input, self._output, self._errors):
            if stream is not None:
                stream.close()

    @property
    def code(self) -> int | None:
        """Its exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """Ends it. Safe where it has ended."""
        self._process.kill()

    async def read(self) -> bytes:
        """The next bytes of its output; none at the end."""
        return await self._output.read() if self._output is not None else b""

    async def read_errors(self) -> bytes:
        """The next bytes of its errors; none at the end."""
        return await self._errors.read() if self._errors is not None else b""

    async def give(self, data: bytes) -> None:
        """Writes all of its input. A program that ends before it has read that says why itself."""
        if self._input is not None:
            try:
                await self._input.write(data)
            except BrokenPipeError:
                pass
            finally:
                self._input.close()

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        if self._process.poll() is None:
            try:
                end = _Stream(os.fdopen(os.pidfd_open(self.pid), "rb", buffering=0))
            except OSError:  # an old kernel, or a filter of what may be asked of it
                return await asyncio.to_thread(self._process.wait)
            try:
                await end.readable()
            finally:
                end.close()
        return self._process.wait()

    async def communicate(self, data: bytes) -> tuple[bytes, bytes]:
        """Gives it its input and waits for its end; returns all that it printed, and its errors."""
        _, output, errors = await asyncio.gather(self.give(data), _all(self.read), _all(self.read_errors))
        await self.wait()
        return output, errors


class _Stream:
    """One end of a pipe, or whatever else the event loop can wait for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = file.fileno()
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[None] | None = None
        os.set_blocking(self._number, False)

    async def read(self) -> bytes:
        # Without this a program that is always ahead would keep all others from their turn.
        await asyncio.sleep(0)
        while True:
            try:
                return os.read(self._number, _CHUNK)
            except BlockingIOError:
                await self.readable()

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._number, rest) :]
            except BlockingIOError:
                await self._ready(self._loop.add_writer)

    async def readable(self) -> None:
        await self._ready(self._loop.add_reader)

    async def _ready(self, watch: Callable[..., object]) -> None:
        ready = self._waiting = self._loop.create_future()
        watch(self._number, _done, ready)
        try:
            await ready
        finally:
            # After `close` the number may be that of another file.
            if self._waiting is ready:
                self._forget()

    def _forget(self) -> None:
        self._waiting = None
        self._loop.remove_reader(self._number)
        self._loop.remove_writer(self._number)

    def close(self) -> None:
        """Safe to call again. Whoever waits for it is cancelled."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._forget()
        self._file.close()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _all(read: Callable[[], Awaitable[bytes]]) -> bytes:
    chunks: list[bytes] = []
    while chunk := await read():
        chunks.append(chunk)
    return b"".join(chunks)
