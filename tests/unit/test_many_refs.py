"""The refs of a repository are stored in parts, however many it has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tortoise.transactions import in_transaction

from rapidflow_web.db import repositories
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.db.trigger_models import RepositoryRef
from tests.support.databases import opened

_MOST = 1000
"""Objects of the ORM that may be made at once on the event loop, which takes 20 ms."""


async def test_thousands_of_refs_are_stored_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    create = RepositoryRef.bulk_create

    def counted(objects: Iterable[RepositoryRef], **options: Any) -> Any:
        rows = list(objects)
        sizes.append(len(rows))
        return create(rows, **options)

    monkeypatch.setattr(RepositoryRef, "bulk_create", counted)
    refs = {f"refs/heads/{number}": "a" * 40 for number in range(2_345)}
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        repository = await repositories.begin("https://host/x", "git", "key")
        async with in_transaction():
            await repositories.settle(repository.id, refs, default_branch="main")
        assert await repositories.refs_of(repository.id) == refs
    assert sum(sizes) == len(refs) and max(sizes) <= _MOST
