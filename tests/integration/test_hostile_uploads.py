"""Uploads that are small and would take a server long, or much of its memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.machine import only_root, small_disk
from tests.support.repos import Repo
from tests.support.repositories import add, definition
from tests.support.server import Server
from tests.support.uploads import kept, pack, packed, upload

_MIB = 1024**2


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server(executor="process", upload_limit="2m").start()


@pytest.fixture
def pipeline(server: Server, repo: Repo) -> int:
    repo.commit({".rapidflow.yml": definition()})
    return add(server, repo)["pipelines"][0]["id"]


def test_difference_that_stands_for_a_huge_file_takes_no_memory(server: Server, pipeline: int) -> None:
    block = bytes(8 * _MIB)
    huge = hashlib.sha1(b"blob %d\0" % (50 * len(block)))
    for _ in range(50):
        huge.update(block)
    tree = b"".join(b"100644 %s\0" % name + digest for name, digest in (
        (b"block", _id(b"blob", block)), (b"huge", huge.digest()),
    ))  # fmt: skip
    commit = (
        b"tree "
        + _id(b"tree", tree).hex().encode()
        + b"\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n"
    )
    # Each instruction copies all of the block.
    copies = b"\xf0" + len(block).to_bytes(3, "little")
    delta = _varint(len(block)) + _varint(50 * len(block)) + copies * 50
    data = _pack(
        (1, commit, b""), (2, tree, b""), (3, block, b""), (7, delta, _id(b"blob", block)),
    )  # fmt: skip
    assert len(data) < 100_000
    before = server.memory
    answer = upload(server, pipeline, _id(b"commit", commit).hex(), data)
    assert answer.status == 400
    assert "takes more than 200 MiB of memory; pack it with 'git pack-objects" in answer.json["error"]
    assert server.memory - before < 100 * _MIB
    assert kept(server) == []


@pytest.mark.parametrize("files", [{"a": "a"}, {}], ids=["files", "folders"])
def test_small_tree_with_millions_of_paths_is_refused(
    server: Server, pipeline: int, tmp_path: Path, files: dict[str, str | bytes]
) -> None:
    repo = Repo(tmp_path / "tree")
    repo.commit(files)
    tree = repo.git("rev-parse", "HEAD^{tree}")
    for _ in range(7):
        (tmp_path / "object").write_bytes(
            b"".join(b"40000 %d\0" % number + bytes.fromhex(tree) for number in range(10))
        )
        tree = repo.git("hash-object", "-w", "-t", "tree", str(tmp_path / "object"))
    commit = repo.git("commit-tree", tree, "-m", "x")
    data = packed(repo, commit)
    assert len(data) < 2000
    answer = upload(server, pipeline, commit, data)
    assert answer.status == 400, answer.text
    assert answer.json["error"] == "the working tree has more than 200,000 files and folders"
    assert kept(server) == []


@only_root
def test_disk_that_gets_full_while_an_upload_is_checked_is_the_servers_fault(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "48m"):
        server = new_server("disk/data", executor="process").start()
        repo.commit({".rapidflow.yml": definition()})
        pipeline = add(server, repo)["pipelines"][0]["id"]
        # The index of these takes 300 KiB.
        commit, data = pack(tmp_path / "many", {f"{number}": os.urandom(100) for number in range(10_000)})
        state = os.statvfs(tmp_path / "disk")
        with (tmp_path / "disk" / "ballast").open("wb") as ballast, contextlib.suppress(OSError):
            ballast.write(bytes(state.f_bavail * state.f_frsize - len(data) - 150 * 1024))
        answer = upload(server, pipeline, commit, data)
        assert answer.status == 500, answer.text
        assert answer.json["error"].startswith("the server can't store the upload: ")
        assert "objects/pack" not in answer.json["error"]
        assert kept(server) == []
        (tmp_path / "disk" / "ballast").unlink()
        assert upload(server, pipeline, commit, data).status == 201
        server.stop()


def _id(kind: bytes, data: bytes) -> bytes:
    return hashlib.sha1(b"%s %d\0" % (kind, len(data)) + data).digest()


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _pack(*objects: tuple[int, bytes, bytes]) -> bytes:
    """A pack of objects: the type in numbers, the data, and the id of what it is the difference to."""
    body = bytearray(b"PACK" + struct.pack(">II", 2, len(objects)))
    for kind, data, base in objects:
        size, rest = len(data) & 0xF, len(data) >> 4
        body += bytes([kind << 4 | size | (0x80 if rest else 0)]) + (_varint(rest) if rest else b"")
        body += base + zlib.compress(data)
    return bytes(body) + hashlib.sha1(body).digest()
