"""Files that are compressed and can still be read from anywhere, for logs that nobody writes any more.

The format is the seekable one of Zstandard (contrib/seekable_format in its repository): frames of `BLOCK`
bytes each, and a table of their sizes in a frame that decompressors skip. So `zstdcat` reads it, too.
"""

from __future__ import annotations

import contextlib
import os
import struct
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from rapidflow_web.private_files import replacing

SUFFIX = ".zst"
BLOCK = 128 * 1024
"""Bytes in a frame: large enough to compress well, small enough that a read costs a fraction of a ms."""

_LEVEL = 3
_SKIPPABLE = struct.Struct("<II")
_ENTRY = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")
_SKIPPABLE_MAGIC = 0x184D2A5E
_SEEKABLE_MAGIC = 0x8F92EAB1


class Damaged(OSError):
    """A file is not what `compress` wrote. The message says what is wrong."""


def path_of(path: Path) -> Path:
    """Where the compressed form of the file `path` is."""
    return path.with_name(path.name + SUFFIX)


def damaged_of(packed: Path) -> Path:
    """Where a repair keeps a compressed file that is damaged."""
    return packed.with_name(f"{packed.name}.damaged")


def compress(source: Path, target: Path) -> int:
    """Writes `source` compressed to `target`, whole or not at all; returns the bytes that it takes there.

    Takes as long as there is to compress, some 300 MB/s. Raises `OSError`.
    """
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    entries: list[bytes] = []
    with source.open("rb") as plain, replacing(target) as packed:
        while block := plain.read(BLOCK):
            frame = compressor.compress(block)
            packed.write(frame)
            entries.append(_ENTRY.pack(len(frame), len(block)))
        table = b"".join(entries) + _FOOTER.pack(len(entries), 0, _SEEKABLE_MAGIC)
        packed.write(_SKIPPABLE.pack(_SKIPPABLE_MAGIC, len(table)) + table)
        return packed.tell()


class CompressedFile:
    """A file that `compress` wrote, read as if it were not compressed. Can be read from several threads.

    Keeps the last `kept` blocks that were read. Raises `OSError`, `Damaged` among them.
    """

    def __init__(self, path: Path, kept: int = 1) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._close = weakref.finalize(self, os.close, self._fd)
        self._kept = kept
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        table = self._table()
        lengths = [length for _, length in table]
        if any(length != BLOCK for length in lengths[:-1]):
            raise Damaged(f"{path} has blocks of odd sizes")
        self._starts = [0, *accumulate(size for size, _ in table)]
        self.size = sum(lengths)
        """Bytes that can be read."""

    def _table(self) -> list[tuple[int, int]]:
        """The size of each frame, as it is and decompressed."""
        end = os.fstat(self._fd).st_size
        footer = os.pread(self._fd, _FOOTER.size, max(0, end - _FOOTER.size))
        if len(footer) < _FOOTER.size:
            raise Damaged(f"{self._path} is cut off")
        count, flags, magic = _FOOTER.unpack(footer)
        length = count * _ENTRY.size
        if magic != _SEEKABLE_MAGIC or flags != 0 or length > end:
            raise Damaged(f"{self._path} has no table at its end; it may be cut off")
        return list(_ENTRY.iter_unpack(os.pread(self._fd, length, end - _FOOTER.size - length)))

    def __len__(self) -> int:
        return self.size

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer only at the end."""
        end = min(offset + count, self.size)
        if offset >= end:
            return b""
        first, last = offset // BLOCK, (end - 1) // BLOCK
        if first == last:
            return self._block(first)[offset % BLOCK : end - first * BLOCK]
        blocks = b"".join(self._block(number) for number in range(first, last + 1))
        return blocks[offset - first * BLOCK : end - first * BLOCK]

    def read_now(self, offset: int, count: int) -> bytes | None:
        """The same if it is in memory, else None."""
        number = offset // BLOCK
        block = self._blocks.get(number)
        end = min(offset + count, self.size)
        if block is None or end > (number + 1) * BLOCK:
            return None
        return block[offset % BLOCK : end - number * BLOCK]

    def blocks(self) -> Iterator[bytes | None]:
        """All blocks in their order, read from the disk; None stands for one that is damaged."""
        for number in range(len(self._starts) - 1):
            try:
                yield self._unpacked(number)
            except Damaged:
                yield None

    def check(self) -> None:
        """Reads it all. Raises `Damaged` where that can't be done."""
        for number in range(len(self._starts) - 1):
            self._unpacked(number)

    def close(self) -> None:
        """Gives the descriptor back. Safe to call again."""
        self._close()

    def _block(self, number: int) -> bytes:
        if (known := self._blocks.get(number)) is not None:
            return known
        block = self._blocks[number] = self._unpacked(number)
        while len(self._blocks) > self._kept:
            with contextlib.suppress(KeyError):  # another thread was first
                self._blocks.popitem(last=False)
        return block

    def _unpacked(self, number: int) -> bytes:
        import zstandard

        start, end = self._starts[number], self._starts[number + 1]
        try:
            # Not kept: one can't be used by two threads, and to make one costs little.
            block = zstandard.ZstdDecompressor().decompress(os.pread(self._fd, end - start, start))
        except zstandard.ZstdError as error:
            raise Damaged(f"{self._path} is damaged after {number * BLOCK} bytes: {error}") from error
        if len(block) != min(BLOCK, self.size - number * BLOCK):
            raise Damaged(f"{self._path} is damaged after {number * BLOCK} bytes: a block has an odd size")
        return block


def blocks(path: Path) -> Iterator[bytes | None]:
    """The blocks of a compressed file that may be damaged; None stands for one that can't be read.

    Where the table at its end is lost, they end with the first that can't be read. Raises `OSError`.
    """
    try:
        file = CompressedFile(path)
    except Damaged:
        yield from _blocks_without_table(path)
        return
    yield from file.blocks()
    file.close()


def _blocks_without_table(path: Path) -> Iterator[bytes]:
    import zstandard

    with path.open("rb") as file:
        rest = b""
        # A frame never is much longer than what it holds.
        while rest := rest + file.read(2 * BLOCK - len(rest)):
            frame = zstandard.ZstdDecompressor().decompressobj()
            try:
                block = frame.decompress(rest)
            except zstandard.ZstdError:
                return
            if not frame.eof or not block:
                return
            rest = frame.unused_data
            yield block
