"""What the page of two builds side by side says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rapidflow_web.builds import reasons
from rapidflow_web.db.models import Step
from rapidflow_web.pages import comparison, failures
from rapidflow_web.pages.comparison import Durations
from rapidflow_web.pages.filters import sentence


def test_lines_that_begin_like_names_of_files_are_shown():
    found = comparison.diff("---\na: 1\n--b\n", "a: 1\n++c\n")
    assert found is not None
    assert [line for kind, line in found if kind in "+-"] == ["----", "---b", "+++c"]


def test_characters_that_end_lines_elsewhere_end_none():
    found = comparison.diff("a: x\u2028b\n", "a: x\u2028c\n")
    assert found is not None
    assert [line for kind, line in found if kind == "+"] == ["+a: x\u2028c"]


def test_steps_of_one_name_are_compared_one_by_one():
    def steps(*took: tuple[str, int]) -> list[Step]:
        return [
            cast(Step, SimpleNamespace(name=name, content="x", started_at=0, finished_at=ms))
            for name, ms in took
        ]

    found = comparison.durations(steps(("a", 1), ("a", 2)), steps(("a", 3), ("a", 4), ("a", 5)))
    assert found == [Durations("a", 1, 3), Durations("a", 2, 4), Durations("a", None, 5)]


@pytest.mark.parametrize(
    ("said", "shown"),
    [("no", "No."), ("it is gone.", "It is gone."), ("why?", "Why?"), ("waiting…", "Waiting…")],
)
def test_a_sentence_has_one_period(said: str, shown: str):
    assert sentence(said) == shown
    build: Any = SimpleNamespace(id=1, error=said, failure=None)
    reason = failures.reason(build)
    assert reason is not None and reason.text == shown


@pytest.mark.parametrize("code", [1, 137, -9])
def test_the_step_and_its_exit_code_are_read_out_of_a_reason(code: int):
    assert reasons.exit_in(reasons.exited(12, "bash", code)) == (12, code)
    assert reasons.exit_in(reasons.exited(12, "bash", code) + " later") is None
