"""The examples that pages offer to begin with."""

from __future__ import annotations

from pathlib import Path

from rapidflow_web.pages import examples
from rapidflow_web.pipeline.parser import parse

FOLDER = Path(__file__).parents[2] / "examples" / "pipelines"


def test_every_example_says_what_it_is_about_and_the_first_needs_nothing() -> None:
    every = examples.every()
    assert {one.name: one.text for one in every} == {
        path.stem: path.read_text() for path in FOLDER.glob("*.yml")
    }
    assert all(one.about and one.title for one in every)
    first = parse(every[0].text)
    assert first.repo_name is None and first.image is None and first.language is None and not first.secrets
