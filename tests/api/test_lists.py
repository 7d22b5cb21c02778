"""Lists: newest first, in pages, filtered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.test_jobs import JOB
from tests.support.server import Server


def pages(server: Server, path: str) -> list[list[int]]:
    """The ids on every page, led by the Link headers."""
    found: list[list[int]] = []
    while path:
        answer = server.get(path)
        assert answer.status == 200, answer.text
        assert isinstance(answer.json, list)
        found.append([entry["id"] for entry in answer.json])
        link = re.fullmatch(r'<(/[^>]+)>; rel="next"', answer.headers.get("link", ""))
        assert (link is not None) == ("link" in answer.headers)
        path = link[1] if link else ""
    return found


@pytest.fixture(scope="module")
def built(server: Server) -> tuple[int, list[int]]:
    """A pipeline and its five builds, oldest first, of which the last failed and has another branch."""
    pipeline_id = server.pipeline({"name": "built often", "branch": "main", "steps": ['exit "$CODE"']})
    ids = [server.start_build(pipeline_id, environments={"CODE": "0"}) for _ in range(4)]
    ids.append(server.start_build(pipeline_id, environments={"CODE": "1"}, branch="feature/a&b"))
    for job_id in ids:
        server.wait_finished(job_id)
    return pipeline_id, ids


def test_pages_of_pipelines_lead_from_the_newest_to_the_oldest(
    server: Server, new_name: Callable[[], str]
) -> None:
    name = new_name() + " & more"
    ids = [server.pipeline({"name": name, "steps": ["true"]}) for _ in range(7)][::-1]
    path = f"/pipelines?name={quote(name)}"
    assert pages(server, f"{path}&limit=3") == [ids[:3], ids[3:6], ids[6:]]
    assert pages(server, f"{path}&limit=1") == [[one] for one in ids]
    # A page that is exactly full is the last one if nothing is left.
    assert pages(server, f"{path}&limit=7") == [ids]
    assert pages(server, path) == [ids]
    assert pages(server, f"{path}&before={ids[2]}") == [ids[3:]]
    assert pages(server, f"{path}&before={ids[-1]}") == [[]]
    assert pages(server, f"{path}&before=0") == [[]]


def test_without_a_limit_a_page_has_fifty(server: Server, new_name: Callable[[], str]) -> None:
    name = new_name()
    ids = [server.pipeline({"name": name, "steps": ["true"]}) for _ in range(51)][::-1]
    assert pages(server, f"/pipelines?name={quote(name)}") == [ids[:50], ids[50:]]
    assert pages(server, f"/pipelines?name={quote(name)}&limit=200") == [ids]


def test_pages_of_jobs_keep_their_filters(server: Server, built: tuple[int, list[int]]) -> None:
    pipeline_id, ids = built
    newest = ids[::-1]
    for path in (f"/jobs?pipeline_id={pipeline_id}&", f"/pipelines/{pipeline_id}/jobs?"):
        assert pages(server, f"{path}limit=2") == [newest[:2], newest[2:4], newest[4:]]
        assert pages(server, f"{path}limit=5") == [newest]
        assert pages(server, f"{path}limit=3&status=success") == [newest[1:4], newest[4:]]
        assert pages(server, f"{path}status=failed") == [newest[:1]]
        assert pages(server, f"{path}status=cancelled") == [[]]
        assert pages(server, f"{path}branch=main&limit=2") == [newest[1:3], newest[3:]]
        assert pages(server, f"{path}branch=feature%2Fa%26b") == [newest[:1]]
        assert pages(server, f"{path}branch=mai") == [[]]
        assert pages(server, f"{path}branch=main&status=failed") == [[]]
        assert pages(server, f"{path}before={ids[1]}") == [ids[:1]]


def test_jobs_of_all_pipelines_are_in_one_list(
    server: Server, built: tuple[int, list[int]], succeeded: dict[str, Any]
) -> None:
    every = [job_id for page in pages(server, "/jobs?limit=3") for job_id in page]
    assert every == sorted(every, reverse=True)
    assert {*built[1], succeeded["job"]["id"]} <= set(every)
    assert pages(server, f"/jobs?pipeline_id={10**9}") == [[]]


def test_what_is_listed_is_what_is_there_alone(server: Server, built: tuple[int, list[int]]) -> None:
    jobs = server.get(f"/pipelines/{built[0]}/jobs").json
    assert jobs == [server.job(job_id) for job_id in reversed(built[1])]
    assert all(list(job) == JOB for job in jobs)
    pipelines = server.get("/pipelines?limit=2").json
    assert pipelines == [server.get(f"/pipelines/{pipeline['id']}").json for pipeline in pipelines]


def test_pending_and_running_jobs_are_found_by_their_status(queue: Any) -> None:
    server: Server = queue.server
    job_id = server.start_job({"name": "waits", "steps": ["true"]})
    assert [job["id"] for job in server.get("/jobs?status=pending").json] == [job_id]
    assert [job["id"] for job in server.get("/jobs?status=running").json] == [queue.holder]
    server.post(f"/jobs/{job_id}/cancel")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "limit=0: input should be greater than or equal to 1"),
        ("limit=201", "limit=201: input should be less than or equal to 200"),
        ("limit=x", "limit=x: use a whole number from 0"),
        ("limit=-1", "limit=-1: use a whole number from 0"),
        ("limit=", "limit=: use a whole number from 0"),
        ("limit=1&limit=2", "the query has 'limit' more than once"),
        ("before=x", "before=x: use a whole number from 0"),
        ("before=9223372036854775808", "before=9223372036854775808: input should be less than or equal to 9"),
        (
            "status=done",
            "status=done: input should be 'pending', 'running', 'success', 'failed' or 'cancelled'",
        ),
        ("status=", "status=: input should be 'pending'"),
        ("pipeline_id=abc", "pipeline_id=abc: use a whole number from 0"),
        ("pipelin_id=1", "unknown query parameter 'pipelin_id', did you mean 'pipeline_id'?"),
        ("branch=a%00b", "branch has a NUL character"),
        ("offset=3", "unknown query parameter 'offset'"),
    ],
)
def test_a_bad_query_is_an_error(server: Server, query: str, words: str) -> None:
    answer = server.get(f"/jobs?{query}")
    assert answer.status == 400
    assert list(answer.json) == ["error"]
    assert answer.json["error"].startswith(words)
