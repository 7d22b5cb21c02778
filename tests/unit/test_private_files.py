"""Files are written whole or not at all, for the server's user alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rapidflow_web import private_files


def test_written_file_replaces_the_old_one_and_is_private(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    umask = os.umask(0)
    try:
        private_files.write_atomically(path, b"new")
    finally:
        os.umask(umask)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_old_file_stays_if_the_new_one_is_interrupted(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), private_files.replacing(path) as file:
        file.write(b"half")
        assert path.read_text() == "old"
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_half_of_an_earlier_write_is_overwritten(tmp_path: Path):
    path = tmp_path / "file"
    path.with_name("file.new").write_text("half of something longer")
    private_files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
