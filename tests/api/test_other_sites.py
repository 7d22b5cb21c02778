"""What another website makes a visitor's browser send is refused."""

from __future__ import annotations

import pytest

from tests.support.server import Server


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/pipelines/1/jobs", "/ui/pipelines", "/jobs/1/retry", "/ui/jobs/1/cancel"])
def test_a_request_that_changes_something_is_refused_to_other_sites(
    server: Server, path: str, headers: dict[str, str]
) -> None:
    answer = server.request("POST", path, headers=headers)
    assert answer.status == 403
    assert "another website" in answer.text


def test_requests_of_our_own_pages_and_of_programs_are_taken(server: Server) -> None:
    pipeline = server.pipeline({"name": "own", "steps": ["true"]})
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    for headers in ({}, own):
        assert server.request("POST", f"/pipelines/{pipeline}/jobs", headers=headers).status == 201
    assert server.get("/jobs", {"Sec-Fetch-Site": "cross-site"}).status == 200
