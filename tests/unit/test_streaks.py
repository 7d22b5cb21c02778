"""Since when builds fail, and which one succeeded last: of the same branch, tag or pull request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.db import jobs
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.db.models import Definition, Job, Pipeline
from rapidflow_web.db.related_builds import Streak, streak
from tests.support.databases import opened

MAIN, TAG, PULL = "refs/heads/main", "refs/tags/v1", "refs/pull/7/head"
Build = dict[str, Any]


def good(**columns: Any) -> Build:
    return {"status": "success", **columns}


def bad(**columns: Any) -> Build:
    return {"status": "failed", **columns}


# The builds of a pipeline, of which the last one is asked about.
CASES: dict[str, tuple[list[Build], Streak | None]] = {
    "of a branch": (
        [good(branch="main"), bad(branch="main"), bad(branch="topic"), bad(branch="main")],
        Streak(2, 1, "branch"),
    ),
    "the source was not fetched": ([good(branch="main"), bad(repo_name="/repo")], None),
    "a push after a manual build": (
        [good(branch="main"), bad(branch="main", ref=MAIN)],
        Streak(2, 1, "branch"),
    ),
    "a manual build after a push": (
        [good(branch="main", ref=MAIN), bad(branch="main", ref=MAIN), bad(branch="main")],
        Streak(2, 1, "branch"),
    ),
    "a commit": ([good(ref=TAG), bad(ref=PULL), good(), bad(repo_name="/repo")], None),
    "without a repository": (
        [good(branch="main"), good(), bad(), good(ref=TAG), bad(), bad()],
        Streak(3, 2, "pipeline"),
    ),
    "an upload": ([good(branch="main"), bad(branch="main", upload_id=3)], None),
    "after uploads": (
        [
            good(branch="main"), bad(branch="main", upload_id=3),
            good(branch="main", upload_id=3), bad(branch="main"),
        ],
        Streak(4, 1, "branch"),
    ),
    "a tag": ([good(ref=PULL), good(branch="main", ref=MAIN), bad(ref=TAG)], Streak(3, None, "tag")),
    "a pull request": ([good(ref=PULL), good(ref=TAG), bad(ref=PULL)], Streak(3, 1, "pull request")),
    "nothing else": ([bad(branch="main")], Streak(1, None, "branch")),
    "after a retry of what was good": (
        [good(branch="main"), bad(branch="main"), good(branch="main", retry_of=1), bad(branch="main")],
        Streak(2, 1, "branch"),
    ),
    "a retry of a retry": (
        [
            good(branch="main"), bad(branch="main"), good(branch="main"),
            bad(branch="main", retry_of=2), bad(branch="main", retry_of=4),
        ],
        Streak(2, 1, "branch"),
    ),
    "a retry of what was good": (
        [good(branch="main"), bad(branch="main"), bad(branch="main", retry_of=1)],
        Streak(3, 1, "branch"),
    ),
    "one that succeeded": (
        [good(branch="main"), bad(branch="main"), good(branch="main")],
        Streak(None, 1, "branch"),
    ),
}  # fmt: skip


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[None]:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        yield


@pytest.mark.parametrize("case", CASES)
async def test_a_build_stands_in_a_row_with_those_of_the_same_line(database: None, case: str):
    builds, expected = CASES[case]
    definition = await Definition.create(name="Row", config="")
    pipeline = await Pipeline.create(definition=definition, created_at=1, updated_at=1)
    for number, columns in enumerate(builds, 1):
        fixed = {"pipeline": pipeline, "definition": definition, "started_by": "api", "created_at": number}
        await Job.create(id=number, **fixed, **columns)
    last = await jobs.get(len(builds))
    assert last is not None
    assert await streak(last) == expected
