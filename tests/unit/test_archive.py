"""The source of a build as an archive, while other builds of the same repository come and go."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
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


async def test_a_root_without_a_workspace_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "rapidflow").mkdir()
    archive = Archive(tmp_path)
    with pytest.raises(BuildError, match=r"could not pack the source: .*workspace"):
        await rest_of(archive)
    await archive.close()
