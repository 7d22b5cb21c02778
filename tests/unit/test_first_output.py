"""What the empty log of a build says before its first output."""

from __future__ import annotations

import pytest

from rapidflow_web.builds.timeline import Phase
from rapidflow_web.db.models import Job
from rapidflow_web.pages.first_output import before_first_output

IMAGE = "registry.local/golang:1.21"


def job(status: str, **columns: object) -> Job:
    return Job(**{"id": 1, "status": status, "cancelled": False, "unread": False, "image": IMAGE, **columns})


def phase(name: str, detail: str | None = None, finished: int | None = None) -> Phase:
    return Phase(name, 1, finished, detail)


@pytest.mark.parametrize(
    ("build", "phases", "waits", "said"),
    [
        (job("pending"), [phase("queued")], None, ["Waiting for a free slot…"]),
        (job("pending"), [phase("queued")], "Waiting for #3 to end.", ["Waiting for #3 to end…"]),
        (job("pending", unread=True), [], None, ["Reading the definition from the commit…"]),
        (job("pending", approval="waiting"), [], None, ["Waiting for an approval…"]),
        (
            job("running"),
            [phase("queued", None, 2), phase("source", "fetching main"), phase("image", IMAGE)],
            None,
            ["Fetching main…", f"Looking for the image {IMAGE}…"],
        ),
        (
            job("running"),
            [phase("source", "commit abc", 3), phase("image", f"pulling {IMAGE}: 3 of 70 MB")],
            None,
            [f"Pulling {IMAGE}: 3 of 70 MB…"],
        ),
        (job("running"), [phase("container")], None, ["Starting the container…"]),
        (
            job("running"),
            [phase("container", "waiting: the engine is away")],
            None,
            ["Waiting: the engine is away…"],
        ),
        (job("running"), [phase("disk")], None, ["Waiting…"]),
        (job("running"), [phase("container", None, 4)], None, ["Starting the first step…"]),
        (job("running", cancelled=True), [phase("container")], None, []),
        (job("failed"), [phase("image", "no such image", 3)], None, []),
    ],
)
def test_empty_log_says_what_the_build_does(
    build: Job, phases: list[Phase], waits: str | None, said: list[str]
) -> None:
    assert before_first_output(build, phases, waits) == said
