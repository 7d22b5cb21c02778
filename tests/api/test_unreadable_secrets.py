"""Secrets that can't be decrypted, found halfway through: each page and call says so in one sentence."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

import pytest

from rapidflow_web.secrets.keys import new_key
from tests.support.gates import let_go, waiting
from tests.support.server import Server, wait_for

SENTENCE = "the secret SECOND was stored with another key; put that key back, or store it again"
JSON = {"Content-Type": "application/json"}


def put(server: Server, path: str, value: str) -> None:
    assert server.request("PUT", path, json.dumps({"value": value}), JSON).status == 200


def part(server: Server, job_id: int, name: str) -> Any:
    """A part of a build as it is stored."""
    return next(one["part"] for one in server.get(f"/jobs/{job_id}/steps").json if one["content"] == name)


def with_another_key(server: Server, change: Callable[[], None]) -> None:
    """Stores something with a key that is not there later."""
    keys = server.data / "secrets.key"
    right = keys.read_text() if keys.exists() else None
    if right is not None:
        server.stop()
        keys.write_text(f"{new_key()}\n")
        server.start()
    change()
    server.stop()
    keys.write_text(right or f"{new_key()}\n")
    server.start()


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    """Has three secrets, the second of which can't be read."""
    server = new_server(executor="process").start()
    put(server, "/secrets/FIRST", "the first value")
    with_another_key(server, lambda: put(server, "/secrets/SECOND", "the second value"))
    put(server, "/secrets/THIRD", "the third value")
    return server


def test_the_build_fails_with_one_sentence(server: Server):
    config = {"name": "Secrets", "secrets": ["FIRST", "SECOND", "THIRD"], "steps": ["echo ran"]}
    details = server.run(config)
    job = details["job"]
    assert (job["status"], job["error"]) == ("failed", SENTENCE)
    assert details["steps"][0]["started_at"] is None
    log = server.stream(job["id"])
    assert log.count(SENTENCE) == 1 and "ran" not in log and "Traceback" not in log
    page = server.get(f"/ui/jobs/{job['id']}")
    said = html.unescape(page.text).partition('id="why"')[2].partition("</p>")[0]
    assert page.status == 200 and f">{SENTENCE[0].upper()}{SENTENCE[1:]}.<" in said
    assert "Traceback" not in server.log.read_text()


def test_a_build_of_several_jobs_begins_none_of_them(server: Server):
    jobs = {
        "good": {"secrets": ["FIRST"], "steps": ["true"]},
        "bad": {"secrets": ["SECOND"], "steps": ["true"]},
    }
    details = server.run({"name": "Parts", "jobs": jobs})
    assert (details["job"]["status"], details["job"]["error"]) == ("failed", SENTENCE)
    assert all(step["part"]["job_id"] is None for step in details["steps"])
    page = html.unescape(server.get(f"/ui/jobs/{details['job']['id']}").text)
    assert f"{SENTENCE[0].upper()}{SENTENCE[1:]}" in page


def test_a_key_that_goes_while_a_build_runs_fails_the_job_that_needs_it(server: Server):
    jobs = {
        "first": {"steps": [f"echo on; {waiting()}"]},
        "second": {"needs": "first", "secrets": ["FIRST"], "steps": ["echo ran"]},
    }
    job = server.start_job({"name": "Halfway", "jobs": jobs})
    wait_for(lambda: part(server, job, "first")["state"] == "running", "the first job runs")
    first = part(server, job, "first")["job_id"]
    server.wait_output(first, "on")
    (server.data / "secrets.key").write_text(f"{new_key()}\n")
    let_go(server, first)
    sentence = SENTENCE.replace("SECOND", "FIRST")
    assert server.wait_finished(job)["job"]["error"] == f"second: {sentence}"
    assert part(server, job, "first")["state"] == "success"
    second = part(server, job, "second")["job_id"]
    assert server.job(second)["error"] == sentence
    assert "ran" not in server.stream(second)
    assert f"second: {sentence}" in html.unescape(server.get(f"/ui/jobs/{job}").text).replace(
        f"The{sentence[3:]}", sentence
    )
    assert "Traceback" not in server.log.read_text()


def test_pages_of_secrets_stay_and_it_can_be_stored_again(server: Server):
    config = {"name": "Secrets", "secrets": ["FIRST", "SECOND"], "steps": ['test -n "$SECOND"']}
    pipeline = server.pipeline(config)
    for path in ("/ui/secrets", f"/ui/pipelines/{pipeline}", "/"):
        assert server.get(path).status == 200
    put(server, "/secrets/SECOND", "another value")
    job = server.start_build(pipeline)
    assert server.wait_finished(job)["job"]["status"] == "success"


def test_a_broken_key_is_one_sentence_on_the_page_and_the_api(server: Server):
    (server.data / "secrets.key").write_text("not a key\n")
    answer = server.request("PUT", "/secrets/FOURTH", '{"value": "the fourth value"}', JSON)
    assert answer.status >= 500 and set(answer.json) == {"error"}
    assert "secrets.key" in answer.json["error"] and "\n" not in answer.json["error"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = server.request("POST", "/ui/secrets", "name=FOURTH&value=the+fourth+value", form)
    assert page.status == answer.status and "secrets.key" in page.text
    assert "the fourth value" not in answer.text + page.text
    assert "Traceback" not in server.log.read_text() + page.text


def test_a_login_of_the_source_that_can_not_be_read_is_named(server: Server):
    url = "https://user:a-password@127.0.0.1:9/team/app"
    made: list[int] = []
    config = {"name": "Source", "repo_name": url, "steps": ["true"]}
    with_another_key(server, lambda: made.append(server.pipeline(config)))
    job = server.start_build(made[0])
    error = server.wait_finished(job)["job"]["error"]
    assert "was stored with another key" in error and "a-password" not in error
