"""Who may still read is asked anew for all streams at once, at a cost that grows with their number alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.accounts.authentication import Access, Reader
from rapidflow_web.db import users
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.db.models import Definition, Grant, Pipeline, Session, Token, User
from rapidflow_web.settings import from_environment
from rapidflow_web.web.streaming import OpenStreams


@pytest.fixture(autouse=True)
async def database(tmp_path: Path) -> AsyncIterator[None]:
    await open_database(sqlite_url(tmp_path / "rapidflow.db"))
    yield
    await close_database()


async def restrict(count: int) -> list[int]:
    """Makes that many pipelines that only some may see; returns the ids of all."""
    definition = await Definition.create(name="a", config="")
    await Pipeline.bulk_create(
        [
            Pipeline(definition_id=definition.id, created_at=0, updated_at=0, restricted=True)
            for _ in range(count)
        ]
    )
    return sorted(int(str(one)) for one in await Pipeline.all().values_list("id", flat=True))


async def user(name: str, role: str, pipelines: list[int]) -> User:
    made = await users.create(name, role, None)
    assert made is not None
    await Grant.bulk_create([Grant(pipeline_id=number, user_id=made.id) for number in pipelines])
    await users.begin_session(made, name, 2**60)
    return made


async def test_those_may_read_who_may_see_the_pipeline() -> None:
    first, second = await restrict(2)
    shown_to_all = (await restrict(1))[-1]
    await Pipeline.filter(id=shown_to_all).update(restricted=False)
    await user("anna", "builder", [first])
    root = await user("root", "admin", [])
    await users.create_token(root.id, "a", "viewer", [second], "limited", None, limited=True)
    readers = {
        Reader(shown, pipeline)
        for shown in ("session anna", "session root", "token limited", "proxy anna", "proxy bob", "nothing",
                      "session none", "token none")
        for pipeline in (first, second, shown_to_all)
    }  # fmt: skip
    assert await Access(from_environment({})).may_read(readers) == {
        *(Reader("session anna", number) for number in (first, shown_to_all)),
        *(Reader("proxy anna", number) for number in (first, shown_to_all)),
        *(Reader("session root", number) for number in (first, second, shown_to_all)),
        Reader("token limited", second),
        Reader("proxy bob", shown_to_all),
    }
    await Session.all().delete()
    await Token.all().delete()
    await User.all().delete()
    assert Reader("nothing", first) in await Access(from_environment({})).may_read(readers)


async def calls_of_a_review(readers: set[Reader]) -> int:
    """How many functions and generators of Python a review enters."""
    access, calls = Access(from_environment({})), 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        await access.may_read(readers)
    finally:
        sys.setprofile(None)
    return calls


async def test_a_review_costs_no_more_for_pipelines_that_nobody_reads() -> None:
    pipelines = await restrict(10)
    readers = {Reader(f"session user{number}", pipelines[0]) for number in range(40)}
    for number in range(40):
        await user(f"user{number}", "viewer", pipelines[:1])
    before = await calls_of_a_review(readers)
    everything = await restrict(400)
    await Grant.bulk_create(
        [Grant(pipeline_id=number, user_id=one.id) for one in await User.all() for number in everything[-20:]]
    )
    assert len(await Access(from_environment({})).may_read(readers)) == 40
    assert await calls_of_a_review(readers) < 2 * before


async def test_reviews_that_are_asked_for_at_once_are_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access(from_environment({}))
    asked: list[set[Reader]] = []

    async def may_read(readers: set[Reader]) -> set[Reader]:
        asked.append(readers)
        await asyncio.sleep(0.01)
        return set()

    monkeypatch.setattr(access, "may_read", may_read)
    streams = OpenStreams(access)
    stream = asyncio.create_task(asyncio.sleep(1000))
    streams.add(stream, Reader("session a", 1))
    await asyncio.gather(*(streams.review() for _ in range(50)))
    assert len(asked) == 2, "the one that was on its way, and one for all who came meanwhile"
    await asyncio.wait({stream})
    assert stream.cancelled()
