"""Files that are compressed and can be read from anywhere."""

from __future__ import annotations

import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from rapidflow_web.logs.compressed import BLOCK, CompressedFile, Damaged, compress


def content(size: int) -> bytes:
    lines = "".join(f"{n}: go: downloading module {n * 7919 % 1000}\n" for n in range(size // 30))
    return lines.encode()[:size].ljust(size, b"x")


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 1234])
def test_a_compressed_file_is_read_from_anywhere_as_if_it_were_not(tmp_path: Path, size: int) -> None:
    data = content(size)
    (tmp_path / "plain").write_bytes(data)
    taken = compress(tmp_path / "plain", tmp_path / "packed")
    assert taken == (tmp_path / "packed").stat().st_size
    file = CompressedFile(tmp_path / "packed")
    assert (file.size, len(file)) == (size, size)
    randoms = random.Random(size)
    places = [(0, size), (0, 1), (size, 5), (size + 9, 5), (max(0, size - 1), 100)]
    places += [(randoms.randrange(size + 1), randoms.randrange(3 * BLOCK)) for _ in range(200)]
    for offset, count in places:
        assert file.read(offset, count) == data[offset : offset + count]
        now = file.read_now(offset, count)
        assert now is None or now == data[offset : offset + count]


def test_what_was_read_last_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(content(3 * BLOCK))
    compress(tmp_path / "plain", tmp_path / "packed")
    file = CompressedFile(tmp_path / "packed")
    assert file.read_now(BLOCK + 5, 10) is None
    file.read(BLOCK, 1)
    assert file.read_now(BLOCK + 5, 10) == content(3 * BLOCK)[BLOCK + 5 : BLOCK + 15]
    assert file.read_now(2 * BLOCK - 1, 2) is None


def test_several_threads_read_at_once(tmp_path: Path) -> None:
    data = content(20 * BLOCK)
    (tmp_path / "plain").write_bytes(data)
    compress(tmp_path / "plain", tmp_path / "packed")
    file = CompressedFile(tmp_path / "packed", kept=2)
    with ThreadPoolExecutor(8) as pool:
        read = pool.map(lambda number: file.read(number * 1009, 70_000), range(2000))
        for number, part in enumerate(read):
            assert part == data[number * 1009 : number * 1009 + 70_000]


def test_other_programs_read_it(tmp_path: Path) -> None:
    data = content(3 * BLOCK + 7)
    (tmp_path / "plain").write_bytes(data)
    compress(tmp_path / "plain", tmp_path / "packed.zst")
    with (tmp_path / "packed.zst").open("rb") as packed:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        assert reader.readall() == data
    if shutil.which("zstdcat"):
        assert subprocess.check_output(["zstdcat", str(tmp_path / "packed.zst")]) == data


@pytest.mark.parametrize("harm", ["cut", "emptied", "overwritten"])
def test_damage_is_noticed(tmp_path: Path, harm: str) -> None:
    (tmp_path / "plain").write_bytes(content(5 * BLOCK))
    packed = tmp_path / "packed"
    compress(tmp_path / "plain", packed)
    whole = packed.read_bytes()
    harmed = {"cut": whole[:-100], "emptied": b"", "overwritten": whole[:500] + b"\0" * 500 + whole[1000:]}
    packed.write_bytes(harmed[harm])
    with pytest.raises(Damaged, match=r"cut off|damaged after 0 bytes"):
        CompressedFile(packed).read(0, 10)


def test_a_compression_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        compress(tmp_path / "missing", tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []
