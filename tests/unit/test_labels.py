"""Labels of pipelines: what the language takes, and that lists find pipelines by them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rapidflow_web.db import pipeline_search, pipelines
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.parser import parse, parse_in_repository
from tests.support.databases import opened


def text(labels: str) -> str:
    return f"name: a\nlabels: {labels}\nsteps: [make]\n"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("[backend, night ly, Ü]", ("backend", "night ly", "Ü")),
        ("backend", ("backend",)),
        ("[1.10, true, backend, backend]", ("1.10", "true", "backend")),
        ("[]", ()),
        ("", ()),
    ],
)
def test_labels_are_words_each_once(labels: str, expected: tuple[str, ...]) -> None:
    assert parse(text(labels)).labels == expected
    assert parse_in_repository(text(labels)).labels == expected


@pytest.mark.parametrize(
    ("labels", "column", "problem"),
    [
        ("{a: b}", 9, "'labels' must be a word or a list, not a mapping"),
        ("[[a]]", 10, "an item of 'labels' must be text, not a list; put text in quotes"),
        ("['']", 10, "the label must be one line of at most 50 characters"),
        (f"[{'x' * 51}]", 10, "the label must be one line of at most 50 characters"),
        ('["a\\nb"]', 10, "the label must be one line of at most 50 characters"),
        ('["a\\u2028b"]', 10, "the label must be one line of at most 50 characters"),
        (str(list(range(21))), 9, "there are 21 labels in 'labels'; at most 20 are taken"),
    ],
)
def test_what_is_no_label_is_refused_at_its_place(labels: str, column: int, problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(text(labels))
    assert [one.message for one in refused.value.problems] == [f"line 2, column {column}: {problem}"]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[None]:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        yield


async def found(words: str) -> list[str]:
    return [one.name for one in await pipeline_search.found(words)]


@pytest.mark.usefixtures("database")
async def test_pipelines_are_found_by_labels_which_follow_their_definition() -> None:
    shop = await pipelines.create("shop", "", labels=("Backend", "night ly"))
    await pipelines.create("site", "")
    kept = await pipelines.define(None, name="kept", config="", labels=("backend",))
    assert await found("backend") == ["kept", "shop"]
    assert await found("NIGHT shop") == ["shop"]
    (one,) = await pipeline_search.found("night")
    assert one.labels == ("Backend", "night ly")
    await pipelines.update(shop.id, "shop", "other", ("frontend",))
    await pipelines.define(kept.id, name="kept", config="", labels=())
    assert await found("backend") == []
    assert await found("frontend") == ["shop"]
