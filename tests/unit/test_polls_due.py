"""Which repositories are looked at next."""

from __future__ import annotations

from pathlib import Path

from rapidflow_web.db import repositories
from rapidflow_web.db.database import now_ms, sqlite_url
from rapidflow_web.db.trigger_models import Repository
from tests.support.databases import opened

_HOUR = 3600 * 1000


async def test_a_clock_that_was_ahead_keeps_no_repository_from_its_polls(tmp_path: Path) -> None:
    now = now_ms()
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        for name, polled_at in (("now", now - _HOUR), ("ahead", now + 1000 * _HOUR)):
            await Repository.create(
                url=f"https://example.com/{name}", forge="git", default_branch="main", hook_key=name,
                poll=600, polled_at=polled_at, next_poll_at=max(now, polled_at) + _HOUR, created_at=now,
            )  # fmt: skip
        (due,) = await repositories.due(now)
        assert due.url == "https://example.com/ahead"
