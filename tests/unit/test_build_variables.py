"""The variables that builds get, wherever they run."""

from __future__ import annotations

import pytest

from rapidflow_web.builds import variables
from rapidflow_web.db.models import Job


@pytest.mark.parametrize(
    ("ref", "tag"),
    [("refs/tags/v1", "v1"), ("refs/heads/main", ""), ("refs/heads/refs/tags/v1", ""), (None, "")],
)
def test_only_a_ref_that_is_a_tag_gives_a_tag(ref: str | None, tag: str):
    assert variables.of_job(Job(id=1, ref=ref))["RAPIDFLOW_TAG"] == tag


def test_a_part_knows_its_name_and_attempt():
    given = variables.of_job(Job(id=1, part="test (n=1)", attempt=2, title="a\0b"))
    assert (given["RAPIDFLOW_PART"], given["RAPIDFLOW_ATTEMPT"]) == ("test (n=1)", "2")
    assert given["RAPIDFLOW_TITLE"] == "ab"
    assert "RAPIDFLOW_PART" not in variables.of_job(Job(id=1))
