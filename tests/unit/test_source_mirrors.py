"""Mirrors: their references, and that none is moved while a build takes its source from it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.source.fetching import forget_references
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.workspace import check_out
from tests.support.repos import Repo
from tests.support.sources import none_left, read


async def test_the_number_of_git_processes_does_not_grow_with_the_references_to_remove(
    origin: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commit = origin.commit({"a": "1"})
    lines = "".join(f"create refs/old/branch-{number} {commit}\n" for number in range(1000))
    read(origin.path, "update-ref", "--stdin", text=lines.encode())
    origin.git("symbolic-ref", "refs/old/HEAD", "refs/heads/main")
    count = tmp_path / "count"
    wrapper = tmp_path / "programs" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho >>{count}\nexec {shutil.which("git")} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:/usr/bin:/bin")
    await forget_references(origin.path, "refs/old")
    assert len(count.read_text().splitlines()) < 10
    assert read(origin.path, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


async def test_a_mirror_that_is_made_anew_waits_for_builds_that_take_their_source_from_it(
    origin: Repo, tmp_path: Path
):
    class Told(Mirrors):
        """Tells when somebody wants that nothing is moved."""

        wanted = asyncio.Event()

        @contextlib.asynccontextmanager
        async def unmoved(self, mirror: Path, *, unfetched: bool = False) -> AsyncGenerator[None]:
            self.wanted.set()
            async with super().unmoved(mirror, unfetched=unfetched):
                yield

    (tmp_path / "mirrors").mkdir()
    mirrors = Told(tmp_path / "mirrors", [str(tmp_path / "repos")], timeout=60)
    origin.commit({"a": "1"})
    mirror = (await mirrors.fetch(origin.url, "main")).mirror
    (mirror / "marker").touch()
    shutil.rmtree(origin.path)
    commit = Repo(origin.path, "--object-format=sha256").commit({"a": "2"})
    async with mirrors.unmoved(mirror):
        mirrors.wanted.clear()
        fetching = asyncio.create_task(mirrors.fetch(origin.url, "main"))
        waiting = asyncio.create_task(mirrors.wanted.wait())
        await asyncio.wait([fetching, waiting], return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done()
        assert (mirror / "marker").exists()
    assert (await fetching).commit == commit
    assert not (mirror / "marker").exists()


async def test_a_mirror_that_takes_too_long_to_pack_is_used_unpacked(
    origin: Repo, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # As one with deltas of deltas without end.
    wrapper, begun = tmp_path / "programs" / "git", tmp_path / "begun"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\nif [ "$1" = gc ]; then\necho >>{begun}; touch objects/pack/tmp_pack_x gc.pid\n'
        f"trap '' TERM; sleep 1000; fi\nexec {shutil.which('git')} \"$@\"\n"
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:/usr/bin:/bin")
    mirrors.tidying = 1
    commit = origin.commit({"a": "1"})
    # Without a limit of its own this ends by that of the test.
    async with asyncio.timeout(60):
        source = await mirrors.fetch(origin.url, "main")
        assert source.commit == commit
        await mirrors.tidy_up()
        assert (await mirrors.fetch(origin.url, "main")).commit == commit
        await mirrors.tidy_up()
    assert begun.read_text() == "\n"
    assert [*source.mirror.rglob("tmp_*"), *source.mirror.rglob("gc.pid")] == []
    await none_left(tmp_path)


async def test_a_checkout_that_patterns_keep_busy_is_given_up(origin: Repo, tmp_path: Path, workspace: Path):
    attributes = f"{'**/a/' * 20}b text\n"
    entries = ""
    for path, text in {".gitattributes": attributes, "a/" * 60 + "c": "1"}.items():
        blob = read(origin.path, "hash-object", "-w", "--stdin", text=text.encode())
        entries += f"100644 {blob}\t{path}\n"
    read(origin.path, "update-index", "--add", "--index-info", text=entries.encode())
    commit = origin.git("commit-tree", origin.git("write-tree"), "-m", "slow")
    origin.git("update-ref", "refs/heads/main", commit)
    (tmp_path / "mirrors").mkdir()
    mirrors = Mirrors(tmp_path / "mirrors", [str(tmp_path / "repos")], timeout=15)
    source = await mirrors.fetch(origin.url, "main")
    mirrors.timeout = 2
    # Without a limit of its own this ends by that of the test.
    async with asyncio.timeout(60):
        with pytest.raises(BuildError, match="it took longer than 2s"):
            await check_out(source, workspace, mirrors)
    await none_left(tmp_path)
