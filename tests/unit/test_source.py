"""The source of a build: what is fetched, and what is said when it can't be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.workspace import check_out
from tests.support.repos import Repo
from tests.support.server import wait_for
from tests.support.sources import none_left, raw, read, refusal, working_in

# Branches and commits.


async def test_without_a_branch_the_default_branch_is_fetched(origin: Repo, mirrors: Mirrors):
    origin.git("checkout", "--quiet", "-b", "trunk/of-it")
    commit = origin.commit({"a": "1"})
    source = await mirrors.fetch(origin.url)
    assert (source.url, source.commit, source.branch) == (origin.url, commit, "trunk/of-it")


async def test_a_branch_is_fetched_by_name(origin: Repo, mirrors: Mirrors, workspace: Path):
    origin.commit({"a": "1"})
    origin.git("checkout", "--quiet", "-b", "feature/ümlaut")
    commit = origin.commit({"a": "2"})
    origin.git("checkout", "--quiet", "main")
    source = await mirrors.fetch(origin.url, "feature/ümlaut")
    assert (source.commit, source.branch) == (commit, "feature/ümlaut")
    await check_out(source, workspace, mirrors)
    assert (workspace / "a").read_text() == "2"


async def test_a_branch_is_fetched_again_after_it_moved(origin: Repo, mirrors: Mirrors):
    first = origin.commit({"a": "1"})
    assert (await mirrors.fetch(origin.url, "main")).commit == first
    second = origin.commit({"a": "2"})
    assert (await mirrors.fetch(origin.url, "main")).commit == second


async def test_a_branch_that_was_rewritten_is_fetched_as_it_is_now(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    origin.commit({"a": "1"})
    gone = origin.commit({"a": "2"})
    await mirrors.fetch(origin.url, "main")
    origin.git("reset", "--quiet", "--hard", "HEAD~1")
    now = origin.commit({"a": "3"})
    source = await mirrors.fetch(origin.url, "main")
    assert source.commit == now != gone
    await check_out(source, workspace, mirrors)
    assert (workspace / "a").read_text() == "3"


async def test_a_commit_that_no_branch_has_any_more_is_found_in_the_mirror(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    origin.commit({"a": "1"})
    gone = origin.commit({"a": "2"})
    await mirrors.fetch(origin.url, "main")
    origin.git("reset", "--quiet", "--hard", "HEAD~1")
    origin.git("reflog", "expire", "--expire=now", "--all")
    origin.git("gc", "--quiet", "--prune=now")
    source = await mirrors.fetch(origin.url, "main", gone)
    assert (source.commit, source.branch) == (gone, "main")
    read(source.mirror, "gc", "--quiet", "--prune=now")
    await check_out(source, workspace, mirrors)
    assert (workspace / "a").read_text() == "2"
    assert read(workspace, "log", "--format=%H", "-1") == gone


async def test_a_commit_is_found_without_the_repository_when_it_was_fetched_before(
    origin: Repo, mirrors: Mirrors
):
    commit = origin.commit({"a": "1"})
    await mirrors.fetch(origin.url)
    (origin.path / ".git").rename(origin.path / "moved")
    assert (await mirrors.fetch(origin.url, commit=commit)).commit == commit


@pytest.mark.parametrize("any_commit", ["true", "false"])
async def test_a_commit_is_fetched_also_when_it_was_not_before(
    origin: Repo, mirrors: Mirrors, workspace: Path, any_commit: str
):
    # A server may give only what is at the tip of a branch.
    origin.git("config", "uploadpack.allowAnySHA1InWant", any_commit)
    commit = origin.commit({"a": "1"})
    origin.commit({"a": "2"})
    source = await mirrors.fetch(origin.url, commit=commit)
    assert (source.commit, source.branch) == (commit, None)
    await check_out(source, workspace, mirrors)
    assert (workspace / "a").read_text() == "1"
    assert read(workspace, "status", "--porcelain", "--branch") == "## HEAD (no branch)"


async def test_a_commit_of_which_a_killed_fetch_left_only_a_part_is_fetched_again(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    origin.commit({"a": "1"})
    source = await mirrors.fetch(origin.url)
    commit = origin.commit({"a": "2", "b": "2"})
    for kind, name in (("commit", commit), ("tree", f"{commit}^{{tree}}")):
        data = raw(origin.path, "cat-file", kind, name)
        read(source.mirror, "hash-object", "-w", "-t", kind, "--stdin", text=data)
    await check_out(await mirrors.fetch(origin.url, commit=commit), workspace, mirrors)
    assert (workspace / "b").read_text() == "2"


async def test_a_branch_may_take_the_place_of_a_folder_of_branches(origin: Repo, mirrors: Mirrors):
    origin.commit({"a": "1"})
    origin.git("branch", "topic")
    origin.git("tag", "v1")
    await mirrors.fetch(origin.url, "topic")
    origin.git("branch", "--move", "topic", "topic/one")
    origin.git("tag", "--delete", "v1")
    origin.git("tag", "v1/final")
    assert (await mirrors.fetch(origin.url, "topic/one")).branch == "topic/one"
    # And so in the fallback for a commit that must be looked for in all branches.
    origin.git("config", "uploadpack.allowAnySHA1InWant", "false")
    inner = origin.commit({"a": "2"})
    origin.commit({"a": "3"})
    await mirrors.fetch(origin.url, commit=inner)
    origin.git("branch", "--move", "topic/one", "topic")
    inner = origin.commit({"a": "4"})
    origin.commit({"a": "5"})
    assert (await mirrors.fetch(origin.url, commit=inner)).commit == inner


async def test_a_second_fetch_brings_only_what_is_new(origin: Repo, mirrors: Mirrors):
    origin.commit({f"file {i}": f"{i}" for i in range(50)})
    source = await mirrors.fetch(origin.url)
    before = objects(source.mirror)
    assert before == 52
    origin.commit({"file 1": "new"})
    again = await mirrors.fetch(origin.url)
    assert again.mirror == source.mirror
    assert objects(source.mirror) == before + 3  # a commit, a tree, a file
    await mirrors.fetch(origin.url)
    assert objects(source.mirror) == before + 3


def objects(repository: Path) -> int:
    """How many objects there are, each copy counted."""
    counts = dict(line.split(": ") for line in read(repository, "count-objects", "-v").splitlines())
    return int(counts["count"]) + int(counts["in-pack"])


async def test_mirrors_are_packed_once_in_a_while_and_keep_what_they_have(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    commits = [origin.commit({"a": "0"})]
    source = await mirrors.fetch(origin.url)
    read(source.mirror, "config", "fetch.unpackLimit", "1")
    read(source.mirror, "config", "gc.autoPackLimit", "3")
    for number in range(1, 10):
        origin.git("commit", "--quiet", "--amend", "--allow-empty", "--message", f"{number}")
        commits.append(origin.git("rev-parse", "HEAD"))
        await mirrors.fetch(origin.url)
    await mirrors.tidy_up()
    assert 1 <= len(list((source.mirror / "objects" / "pack").glob("*.pack"))) <= 4
    read(source.mirror, "gc", "--quiet", "--prune=now")
    assert [read(source.mirror, "cat-file", "-t", commit) for commit in commits] == ["commit"] * 10
    await check_out(await mirrors.fetch(origin.url, commit=commits[3]), workspace, mirrors)


async def test_a_mirror_that_can_not_be_packed_fails_no_build(
    origin: Repo, mirrors: Mirrors, caplog: pytest.LogCaptureFixture
):
    origin.commit({"a": "1"})
    source = await mirrors.fetch(origin.url)
    read(source.mirror, "config", "gc.auto", "many")
    await mirrors.tidy_up()
    assert await mirrors.fetch(origin.url)
    assert "gc.auto" in caplog.text


# What can't be fetched.


async def test_a_missing_branch_is_told_in_the_words_of_git(origin: Repo, mirrors: Mirrors):
    origin.commit({"a": "1"})
    assert await refusal(mirrors, origin.url, branch="nope") == (
        "there is no branch 'nope' (fatal: couldn't find remote ref refs/heads/nope)"
    )


async def test_a_tag_is_no_branch(origin: Repo, mirrors: Mirrors):
    origin.commit({"a": "1"})
    origin.git("tag", "v1")
    assert "couldn't find remote ref refs/heads/v1" in await refusal(mirrors, origin.url, branch="v1")


async def test_a_missing_repository_is_told_in_the_words_of_git(mirrors: Mirrors, tmp_path: Path):
    url = f"file://{tmp_path}/repos/none"
    assert f"'{tmp_path}/repos/none' does not appear to be a git repository" in await refusal(mirrors, url)


async def test_a_missing_commit_is_told_in_the_words_of_git(origin: Repo, mirrors: Mirrors):
    origin.commit({"a": "1"})
    missing = "0123456789abcdef0123456789abcdef01234567"
    assert f"not our ref {missing}" in await refusal(mirrors, origin.url, commit=missing)


@pytest.mark.parametrize("commit", ["main", "HEAD", "-a", "--upload-pack=id", "0123456", "", "0" * 40 + "\n"])
async def test_a_commit_is_named_in_full(origin: Repo, mirrors: Mirrors, commit: str):
    origin.commit({"a": "1"})
    assert await refusal(mirrors, origin.url, commit=commit) == f"'{commit}' is not the id of a commit"


async def test_a_repository_without_a_default_branch_asks_for_one(origin: Repo, mirrors: Mirrors):
    expected = "the repository has no default branch; name a 'branch'"
    commit = origin.commit({"a": "1"})
    origin.git("checkout", "--quiet", "--detach")
    assert await refusal(mirrors, origin.url) == expected
    assert (await mirrors.fetch(origin.url, "main")).commit == commit


async def test_an_empty_repository_is_called_empty(origin: Repo, mirrors: Mirrors):
    assert await refusal(mirrors, origin.url) == "the repository has no branch; push a commit first"


async def test_a_default_branch_with_a_bad_name_is_not_taken(origin: Repo, mirrors: Mirrors):
    commit = origin.commit({"a": "1"})
    (origin.path / ".git" / "refs" / "heads" / "-evil").write_text(f"{commit}\n")
    (origin.path / ".git" / "HEAD").write_text("ref: refs/heads/-evil\n")
    assert await refusal(mirrors, origin.url) == "'-evil' is not the name of a branch"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["git", "https", "ssh"])
async def test_a_server_that_never_answers_is_given_up(tmp_path: Path, silent: int, scheme: str):
    (tmp_path / "mirrors").mkdir()
    mirrors = Mirrors(tmp_path / "mirrors", [], timeout=0.5)
    assert await refusal(mirrors, f"{scheme}://127.0.0.1:{silent}/repo") == "it took longer than 0s"
    await none_left(tmp_path)


async def test_a_cancelled_fetch_leaves_no_process_behind(tmp_path: Path, mirrors: Mirrors, silent: int):
    fetch = asyncio.create_task(mirrors.fetch(f"ssh://127.0.0.1:{silent}/repo", "main"))
    await asyncio.to_thread(wait_for, lambda: "ssh" in str(working_in(tmp_path)), "git has started ssh")
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    await none_left(tmp_path)


async def test_an_unreachable_server_is_told_in_the_words_of_git(mirrors: Mirrors):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "Connection refused" in await refusal(mirrors, f"git://127.0.0.1:{port}/repo")
