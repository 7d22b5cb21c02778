"""The writing side of a job's log: headers, output, and the index that tells where what stands."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from typing import TYPE_CHECKING

from rapidflow_web import metrics
from rapidflow_web.logs import stream_text
from rapidflow_web.logs.index import Kind, Record
from rapidflow_web.logs.truncation import OutputTail

if TYPE_CHECKING:
    from rapidflow_web.logs.log import Log

_log = logging.getLogger(__name__)

_CHECK_BYTES = 64 * 1024
_CHECK_SECONDS = 0.02
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
_RETRY_SECONDS = 1.0


class LogWriter:
    """The writing side, of which there is one for a log that is not sealed.

    When the disk is full a write waits until there is room; the build's output is not read on meanwhile,
    so nothing is lost. `source` always is the offset in the agent's output after what was just given.
    """

    def __init__(self, log: Log, records: list[Record], index_size: int, limit: int | None = None) -> None:
        self.log = log
        self._limit = limit
        self._withheld = OutputTail(limit or 0)
        self._beginning = (limit or 0) - self._withheld.size
        """Bytes after which output is withheld, up to the end of its step."""
        self.records = records
        """What an earlier writer left, for a build that is taken up again (see `index.load`)."""
        self.source = records[-1].source if records else 0
        self.stuck: str | None = None
        """Why a write waits, in words; None while all is well."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        log.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._data = os.open(log.path, flags, 0o600)
        self._index = os.open(log.path.with_suffix(".index"), flags, 0o600)
        # What came after the last record was not accounted for when a server was killed.
        os.ftruncate(self._data, log.size)
        os.ftruncate(self._index, index_size)
        self._closed = False
        self._last = b""
        self._recorded_at = self._appended_at = 0.0
        self._recorded_size = log.size
        self._line_start = _line_start(records)
        self._step_id = records[-1].step_id if records else 0

    async def begin_step(self, step_id: int, order_num: int, step_type: str, source: int) -> None:
        """Writes a step's header."""
        at = self.log.size
        self._step_id, self._last, self.source = step_id, b"", source
        await self._append(stream_text.header(order_num, step_type))
        await self._record(Kind.START, at)

    async def begin_output(self) -> None:
        """Begins a log that has nothing but output: no headers and no final lines. Safe to call again."""
        if not self.log.layout.spans:
            await self._record(Kind.START, 0)

    async def at_line_start(self) -> bool:
        """Whether what is appended next begins a line."""
        return not self.log.size or await self.log.read(self.log.size - 1, 1) == b"\n"

    def has_room(self, size: int) -> bool:
        """Whether nothing would be withheld of `size` bytes more."""
        return self._limit is None or (not self._withheld.total and self.log.size + size <= self._beginning)

    def _room(self, data: bytes) -> int:
        """How many bytes of `data` still belong to the beginning, which ends with a whole character."""
        room = max(0, self._beginning - self.log.size)
        most = min(len(data), self._beginning + stream_text.MOST_CONTINUED - self.log.size)
        while room < most and stream_text.continues(data[room]):
            room += 1
        return room

    async def append(self, data: bytes, source: int, whole: bool = False) -> None:
        """Appends output of the step that runs; where it is a `whole`, not only a part of it.

        Where the log has become too long, nothing is appended until the step ends: then what is kept of the
        output's end. A later writer withholds the same again, because the source offset stays where it is.
        """
        if not self.has_room(len(data)):
            room = 0 if whole or self._withheld.total else self._room(data)
            self._withheld.add(data[room:])
            source -= len(data) - room
            data = data[:room]
            if not data:
                return
        now = time.monotonic()
        if self._recorded_size < self.log.size and now - self._appended_at > _CHECK_SECONDS:
            # Without this, what came before a silence would be dated to its end.
            await self._record(Kind.CHECK, self._line_start, at_time=self._appended_at)
        at = self.log.size
        await self._append(data)
        self.log.latest = at, data
        self._last, self.source, self._appended_at = data[-1:], source, now
        if now - self._recorded_at > _CHECK_SECONDS or self.log.size - self._recorded_size >= _CHECK_BYTES:
            await self._record(Kind.CHECK, self._line_start)
        self.log.wake()

    async def end_step(self, exit_code: int, source: int) -> None:
        """Writes what stands between a step's output and whatever comes next."""
        span = self.log.layout.running
        if span is None:
            return
        await self._append_withheld()
        at = self.log.size
        if at > span.start and not self._last:
            self._last = await self.log.read(at - 1, 1)
        self.source = source
        await self._append(stream_text.separator(self._last))
        await self._record(Kind.END, at, value=exit_code)

    async def _append_withheld(self) -> None:
        if self._withheld.total:
            before = await self.log.read(self.log.size - 1, 1)
            end = self._withheld.take(before, self.log.size)
            await self._append(end)
            self._last = end[-1:]

    async def check(self) -> None:
        """Accounts for all that was appended: a later writer goes on after it, not before."""
        if self._recorded_size < self.log.size:
            await self._record(Kind.CHECK, self._line_start)

    async def seal(self, final_lines: bytes) -> None:
        """Writes the final lines; nothing can be written after them. Closes the writer."""
        await self.end_step(-1, self.source)
        await self._seal(final_lines)

    async def seal_output(self) -> None:
        """Seals a log that was begun by `begin_output`. Closes the writer."""
        await self._append_withheld()
        await self._seal(b"")

    async def _seal(self, final_lines: bytes) -> None:
        at = self.log.size
        await self._append(final_lines)
        await self._record(Kind.SEAL, at)
        self.log.latest = 0, b""  # the log may be kept for long, and is read from its file
        # After the readers have it: they need not wait for the disk.
        try:
            await asyncio.to_thread(os.fsync, self._data)
            await asyncio.to_thread(os.fsync, self._index)
        except OSError as error:
            _log.warning("%s may not be safe on the disk: %s", self.log.path, error.strerror)
        self.close()

    def close(self) -> None:
        """Gives the files back; a log that is not sealed can be written on later. Safe to call again."""
        for fd in (self._data, self._index) if not self._closed else ():
            os.close(fd)
        self._closed = True

    async def _append(self, data: bytes) -> None:
        await self._write(self._data, data)
        if newline := data.rfind(b"\n") + 1:
            self._line_start = self.log.size + newline
        self.log.lines += data.count(b"\n")
        self.log.size += len(data)
        metrics.LOG_BYTES.inc(len(data))

    async def _record(self, kind: Kind, at: int, value: int = 0, at_time: float | None = None) -> None:
        now = time.monotonic()
        age = now - at_time if at_time is not None else 0.0
        record = Record(
            kind, value, self._step_id, at, self.log.size, self.source, self.log.lines,
            int((time.time() - age) * 1000),
        )  # fmt: skip
        await self._write(self._index, record.pack())
        self._recorded_at, self._recorded_size = now - age, self.log.size
        self.log.layout.add(record)
        if kind is not Kind.CHECK:
            self.log.wake()

    async def _write(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except OSError as error:
                if error.errno not in _NO_SPACE:
                    raise
                self.stuck = f"the log can't be written: {error.strerror}"
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self.stuck = None


def _line_start(records: list[Record]) -> int:
    """Where the last line of a log begins, from the records that `load` gives."""
    if not records:
        return 0
    return records[-1].at if records[-1].kind is Kind.CHECK else records[-1].size
