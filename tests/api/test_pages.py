"""Pages over HTTP: what leads where, what is not sent twice, forms as browsers without scripts send them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from tests.support.server import Answer, Server
from tests.support.users import add_user, session_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def submit(server: Server, path: str, **fields: str) -> Answer:
    return server.request("POST", path, urlencode(fields), FORM)


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("/ui", "/"),
        ("/ui/", "/"),
        ("/ui/jobs", "/ui/builds"),
        ("/docs", "/ui/docs"),
        ("/ui/jobs/3/cancel", "/ui/jobs/3"),
        ("/ui/jobs/3/retry", "/ui/jobs/3"),
        ("/ui/pipelines/3/jobs", "/ui/pipelines/3"),
        ("/ui/pipelines/3/delete", "/ui/pipelines/3"),
    ],
)
def test_addresses_without_a_page_lead_to_one(server: Server, address: str, leads_to: str):
    answer = server.get(address)
    assert (answer.status, answer.headers["location"]) == (303, leads_to)


@pytest.mark.parametrize(
    "address", ["/ui/jobs/999999", "/ui/pipelines/nonsense", "/ui/nonsense", "/ui/jobs/1/nonsense"]
)
def test_what_is_not_there_is_a_page_that_says_so(server: Server, address: str):
    answer = server.get(address)
    assert answer.status == 404
    assert "Not found" in answer.text
    assert 'href="/"' in answer.text


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("/jobs/999999", "there is no {} 999999"),
        ("/jobs/nonsense", "there is no {0} 'nonsense'; the id of a {0} is a number like 12"),
    ],
)
def test_a_job_is_a_build_on_pages(server: Server, address: str, sentence: str):
    shown = html.unescape(server.get(f"/ui{address}").text)
    assert sentence.format("build").removeprefix("t") in shown and " job " not in shown
    assert server.get(address).json == {"error": sentence.format("job")}


def test_a_fragment_that_did_not_change_is_not_sent_again(server: Server):
    job = server.run({"name": "unchanged", "steps": ["true"]})["job"]["id"]
    for address in ("/ui/overview", f"/ui/jobs/{job}/state"):
        first = server.get(address)
        again = server.get(address, {"If-None-Match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")


def test_a_fragment_that_changed_is_sent_again(server: Server):
    job = server.start_job({"name": "changes", "steps": ["sleep 60"]})
    server.wait_output(job, "Step 1")
    first = server.get(f"/ui/jobs/{job}/state")
    server.post(f"/jobs/{job}/cancel")
    again = server.get(f"/ui/jobs/{job}/state", {"If-None-Match": first.headers["etag"]})
    assert again.status == 200
    assert "cancelled" in again.text


def test_nothing_is_stored_of_a_definition_that_is_not_valid(server: Server):
    pipeline = server.pipeline({"name": "stays", "steps": ["true"]})
    before = server.get(f"/pipelines/{pipeline}").json
    count = len(server.get("/pipelines?limit=200").json)
    for path in (f"/ui/pipelines/{pipeline}", "/ui/pipelines"):
        answer = submit(server, path, config="name: x\r\nstpes: []\r\n")
        assert answer.status == 422
        assert "did you mean &#39;steps&#39;" in answer.text
        assert "name: x\nstpes: []" in answer.text
    assert server.get(f"/pipelines/{pipeline}").json == before
    assert len(server.get("/pipelines?limit=200").json) == count


def test_a_definition_keeps_the_line_ends_that_were_typed(server: Server):
    answer = submit(server, "/ui/pipelines", config="name: lines\r\nsteps:\r\n  - echo hi\r\n")
    assert answer.status == 303
    assert "Saved. Start a build to try it." in server.get(answer.headers["location"]).text
    number = answer.headers["location"].rsplit("/", 1)[1].partition("?")[0]
    assert server.get(f"/pipelines/{number}").json["config"] == "name: lines\nsteps:\n  - echo hi\n"


def test_a_variable_that_is_none_is_refused_and_what_was_typed_stays(server: Server):
    pipeline = server.pipeline({"name": "variables", "steps": ["true"]})
    answer = submit(server, f"/ui/pipelines/{pipeline}/jobs", branch="topic", environment="A=1\r\nnonsense")
    assert answer.status == 422
    assert "&#39;nonsense&#39; is not KEY=value" in answer.text
    assert "A=1\nnonsense</textarea>" in answer.text
    assert 'value="topic"' in answer.text
    assert server.get(f"/pipelines/{pipeline}/jobs").json == []


def test_a_variable_that_is_there_twice_is_refused(server: Server):
    pipeline = server.pipeline({"name": "variables", "steps": ["true"]})
    answer = submit(server, f"/ui/pipelines/{pipeline}/jobs", environment="A=1\r\n A =2")
    assert answer.status == 422
    assert "&#39;A&#39; is there twice; leave one line out" in answer.text
    assert server.get(f"/pipelines/{pipeline}/jobs").json == []


def test_the_history_has_pages_of_fifty_and_keeps_its_filter(server: Server):
    pipeline = server.pipeline({"name": "history", "steps": ["true"]})
    jobs = [server.start_build(pipeline) for _ in range(51)]
    for job in reversed(jobs):
        server.post(f"/jobs/{job}/cancel")
    for job in jobs:
        server.wait_finished(job)
    ended = [job for job in jobs if server.job(job)["status"] == "cancelled"]
    first = server.get(f"/ui/pipelines/{pipeline}").text
    assert first.count('<tr id="build-') == 50
    assert f"?before={jobs[1]}" in first
    second = server.get(f"/ui/pipelines/{pipeline}?before={jobs[1]}").text
    assert second.count('<tr id="build-') == 1
    cancelled = server.get(f"/ui/pipelines/{pipeline}?status=cancelled").text
    assert cancelled.count('<tr id="build-') == min(50, len(ended))
    assert "No builds match" in server.get(f"/ui/pipelines/{pipeline}?branch=other").text


def test_text_from_pipelines_is_never_markup(server: Server):
    name = "<script>alert(1)</script>"
    job = server.run({"name": name, "steps": [{"name": name, "content": "true"}]}, environments={"X": name})[
        "job"
    ]
    for address in ("/", f"/ui/jobs/{job['id']}", f"/ui/pipelines/{job['pipeline_id']}"):
        text = server.get(address).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


def test_characters_that_nobody_sees_are_escapes_in_names(new_server: Callable[..., Server]):
    server = new_server(executor="process").start()
    odd = '"a\\u202eb\\u200b"'
    pipeline = server.pipeline(f'name: {odd}\nsteps: [{{name: {odd}, content: "true"}}]\n')
    job = server.start_build(pipeline, environments={"ODD": "\u200b\u202e"})
    server.wait_finished(job)
    add_user(server, "root", "admin")
    headers = {"Cookie": session_of(server, "root")}
    body = json.dumps({"name": "\u200b", "role": "viewer", "pipelines": [pipeline]})
    answer = server.request("POST", "/tokens", body, {**headers, "Content-Type": "application/json"})
    assert answer.status == 201, answer.text
    addresses = (
        "/", "/ui/pipelines", f"/ui/pipelines/{pipeline}", "/ui/builds", f"/ui/jobs/{job}", "/ui/account",
        "/ui/users/1",
    )  # fmt: skip
    for address in addresses:
        # What fills a field when it is chosen must be the name itself.
        page = re.sub(r"<datalist.*?</datalist>", "", server.get(address, headers).text, flags=re.DOTALL)
        assert "\\u200b" in page, address
        assert not re.search("[\u202e\u200b]", page), address
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    refused = server.request(
        "POST", f"/ui/pipelines/{pipeline}/jobs", urlencode({"environment": "\u200bX"}), headers
    )
    assert refused.status == 422 and "&#39;\\u200bX&#39; is not KEY=value" in refused.text


def test_the_api_page_has_lines_that_can_be_run(server: Server):
    text = server.get("/ui/api").text
    assert f"curl {server.url}/jobs/{{job_id}}/details" in text
    assert "`" not in text


def test_step_that_a_build_ended_before_is_not_run(server: Server):
    ended = server.run({"name": "ended early", "steps": ["false", "true"]})
    page = server.get(f"/ui/jobs/{ended['job']['id']}").text
    assert "</svg>not run</span>" in page and "</svg>pending</span>" not in page
