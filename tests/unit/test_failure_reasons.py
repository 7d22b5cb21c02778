"""Why a build failed, as lists say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rapidflow_web.pages.failures import reason


@dataclass
class Failed:
    """A build that failed."""

    error: str | None
    failure: dict[str, Any] | None
    id: int = 7


def test_the_name_of_a_part_stays_as_it_is_written():
    found = reason(Failed("a: the build timed out after 8s", {"part": "a", "job_id": 9}))
    assert found is not None
    assert (found.head, found.message, found.href) == ("a", "The build timed out after 8s.", "/ui/jobs/9")
    assert found.text == "a: The build timed out after 8s."


def test_a_part_that_was_rejected_has_no_page():
    found = reason(Failed("deploy: rejected by anna", {"part": "deploy"}))
    assert found is not None
    assert (found.head, found.message, found.href) == ("deploy", "Rejected by anna.", "/ui/jobs/7")


def test_a_reason_that_no_part_begins_is_a_sentence():
    found = reason(Failed("the build timed out after 8s", {}))
    assert found is not None and (found.head, found.message) == (None, "The build timed out after 8s.")


def test_a_reason_that_does_not_name_the_part_is_whole():
    found = reason(Failed("the whole was stopped", {"part": "a", "job_id": 9}))
    assert found is not None and (found.head, found.message) == (None, "The whole was stopped.")
