"""The documentation names each key of the pipeline language, and its examples are pipelines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.pipeline.language import PIPELINE, PLACES, STEP, WHEN
from rapidflow_web.pipeline.limits import PARSERS
from rapidflow_web.pipeline.parser import parse
from rapidflow_web.settings import from_environment

_TOP = Path(__file__).parent.parent.parent
_TEXT = (_TOP / "docs/pipelines.md").read_text()


def _tables() -> list[list[tuple[str, str]]]:
    """Each table with a column `key`: the keys and the default of each row."""
    found = re.findall(r"^\| key \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", _TEXT, re.MULTILINE)
    return [
        [
            (key, default)
            for keys, default in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", table, re.MULTILINE)
            for key in re.findall(r"`(\w+)`", keys)
        ]
        for table in found
    ]


def test_every_key_is_documented_and_every_documented_one_exists():
    of_pipelines, of_steps = _tables()
    assert sorted(key for key, _ in of_pipelines) == sorted(PIPELINE)
    assert sorted(key for key, _ in of_steps) == sorted(STEP)
    (of_when,) = re.findall(r"^\| key of `when` \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", _TEXT, re.MULTILINE)
    assert sorted(re.findall(r"^\| `(\w+)`", of_when, re.MULTILINE)) == sorted(WHEN)


def test_the_editor_says_of_a_key_what_the_documentation_says():
    for name, key in (*PIPELINE.items(), *STEP.items()):
        cells = re.findall(rf"^\|[^|]*`{name}`[^|]*\| [^|]* \| (.*) \|$", _TEXT, re.MULTILINE)
        texts = [re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", cell) for cell in cells]
        assert any(text.startswith(key.meaning) for text in texts), name


def test_every_place_of_a_key_exists_and_each_key_has_a_meaning():
    keys = [key for place in PLACES.values() for key in place.values()]
    assert all(key.meaning for key in keys)
    assert {key.inside for key in keys} - {""} == set(PLACES) - {"pipeline"}


@pytest.mark.parametrize(
    "place",
    [
        "on",
        "push",
        "pull_request",
        "schedule",
        "concurrency",
        "notify",
        "job",
        "need",
        "retry",
        "allow_failure",
        "service",
    ],
)
def test_keys_below_others_are_documented(place: str):
    docs = _TEXT + (_TOP / "docs/notifications.md").read_text()
    assert [name for name in PLACES[place] if f"`{name}`" not in docs and f"{name}:" not in docs] == []


def test_documented_default_limits_are_the_real_ones():
    limits = from_environment({}).default_limits
    for key, default in _tables()[0]:
        if key in PARSERS:
            text = default.strip("`")
            assert (None if text in ("none", "all") else PARSERS[key](text)) == getattr(limits, key), key


def _examples() -> Iterator[tuple[str, str]]:
    for file in ("README.md", *sorted(str(path.relative_to(_TOP)) for path in _TOP.glob("docs/*.md"))):
        for block in re.findall(r"^```yaml\n(.*?)^```", (_TOP / file).read_text(), re.MULTILINE | re.DOTALL):
            yield file, block
    for path in (*sorted(_TOP.glob("examples/pipelines/*.yml")), _TOP / "examples/hello/.rapidflow.yml"):
        yield str(path.relative_to(_TOP)), path.read_text()


@pytest.mark.parametrize(("file", "example"), list(_examples()))
def test_every_example_is_a_pipeline(file: str, example: str):
    # An example may leave out the name.
    parsed = parse(example, ("/",), "example")
    assert parsed.steps or parsed.jobs
