"""The source of a build as an archive, while other builds of the same repository come and go."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive

_CONTENT = os.urandom(4 * 1024**2)
"""More than tar reads ahead of who reads its archive."""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A large file in a build's root, which is `tmp_path`."""
    (tmp_path / "rapidflow").mkdir()
    (tmp_path / "workspace").mkdir()
    file = tmp_path / "workspace" / "big"
    file.write_bytes(_CONTENT)
    return file


async def rest_of(archive: Archive) -> bytes:
    data = b""
    while chunk := await archive.read(256 * 1024):
        data += chunk
    return data


async def test_a_file_that_another_build_links_is_packed_as_it_is(big: Path, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    begin = await archive.read(4096)
    os.link(big, tmp_path / "the other build's")
    packed = begin + await rest_of(archive)
    await archive.close()
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        file = tar.extractfile("workspace/big")
        assert file is not None and file.read() == _CONTENT


async def test_a_file_that_is_cut_is_an_error_that_says_so(big: Path, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    await archive.read(4096)
    os.truncate(big, len(_CONTENT) // 2)
    with pytest.raises(BuildError, match=r"could not pack the source: .*workspace/big: File shrank"):
        await rest_of(archive)
    await archive.close()


async def test_a_source_belongs_to_the_owner(big: Path, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    await archive.begin((1000, 1001))
    assert {entry[3:5] for entry in entries(await rest_of(archive)).values()} == {(1000, 1001)}
    await archive.close()


async def test_without_a_source_the_archive_is_what_tar_would_make(tmp_path: Path) -> None:
    steps = tmp_path / "rapidflow" / "steps"
    (steps / "1.files" / "ü").mkdir(parents=True)
    (steps / "1.files" / "ü" / ("long" * 40)).write_text("text")
    (steps / "1.bash").write_bytes(b"echo \xff" * 9000)
    (steps / "1.bash").chmod(0o600)
    (tmp_path / "rapidflow" / "env").touch()
    (tmp_path / "workspace").mkdir(mode=0o750)
    archive = Archive(tmp_path)
    await archive.begin((1000, 1001))
    packed = await rest_of(archive)
    made = await asyncio.create_subprocess_exec(
        "tar", "-c", "--format=gnu", "--owner=:1000", "--group=:1001", "--numeric-owner", "-C", tmp_path,
        "rapidflow", "workspace", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    by_tar, _ = await made.communicate()
    assert len(packed) % protocol.BLOCK == 0
    assert entries(packed) == entries(by_tar)
    # Whoever reads it anew gets all of it, for another user.
    await archive.begin((7, 8))
    assert {entry[3:5] for entry in entries(await rest_of(archive)).values()} == {(7, 8)}
    archive.forget_secrets()
    assert not (tmp_path / "rapidflow" / "env").exists()
    await archive.close()


@pytest.mark.parametrize(
    ("path", "content", "made"),
    [
        ("steps/1.bash", b"echo", True),
        ("steps/1.bash", b"x" * 3890, True),
        ("steps/1.bash", b"x" * 4096, False),
        ("steps/1.bash", "echo ü".encode(), False),
        ("steps/1.bash", b"\0", False),
        ("steps/1.files/text", b"", False),
    ],
)
async def test_only_small_plain_files_are_made_by_commands(
    tmp_path: Path, path: str, content: bytes, made: bool
) -> None:
    (tmp_path / "workspace").mkdir()
    file = tmp_path / "rapidflow" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    (tmp_path / "rapidflow" / "env").touch()
    archive = Archive(tmp_path)
    commands = await archive.commands()
    assert (commands is not None) == made
    if commands is not None:
        head, _, text = commands.partition(b"\n")
        assert head == b"make %d %d" % (text.count(b"\n"), len(text)) and len(commands) <= 4096
    assert bool(await archive.read(1)) != made
    archive.forget_secrets()
    assert not (tmp_path / "rapidflow" / "env").exists()
    await archive.close()


async def test_a_source_is_not_made_by_commands(big: Path, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert await archive.commands() is None
    assert await archive.read(1)
    await archive.close()


def entries(packed: bytes) -> dict[str, tuple[object, ...]]:
    """What an archive says of each of its entries, by their names."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {
            one.name: (
                one.type, one.mode, int(one.mtime), one.uid, one.gid, one.uname, one.gname,
                file.read() if (file := tar.extractfile(one)) is not None else None,
            )
            for one in tar.getmembers()
        }  # fmt: skip


async def test_a_root_without_a_workspace_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "rapidflow").mkdir()
    archive = Archive(tmp_path)
    with pytest.raises(BuildError, match=r"could not pack the source: .*workspace"):
        await rest_of(archive)
    await archive.close()
