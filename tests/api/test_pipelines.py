"""Pipelines: storing, changing and hiding them, and what their jobs keep of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.test_jobs import is_time
from tests.support.server import Answer, Server

PIPELINE = ["id", "name", "config", "created_at", "updated_at", "repository_id", "path"]
CONFIG = "# as it is:\nname:  from the text \nsteps: [ 'true' ]   # grüße\n"


def put_or_post(server: Server, method: str, path: str, body: bytes, media_type: str | None) -> Answer:
    return server.request(method, path, body, {"Content-Type": media_type} if media_type else None)


def as_json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_a_pipeline_is_stored_as_json_with_its_text_as_it_was_submitted(server: Server) -> None:
    answer = put_or_post(server, "POST", "/pipelines", as_json(config=CONFIG), "application/json")
    pipeline = answer.json
    assert answer.status == 201
    assert answer.headers["location"] == f"/pipelines/{pipeline['id']}"
    assert list(pipeline) == PIPELINE
    assert (pipeline["name"], pipeline["config"]) == ("from the text", CONFIG)
    assert is_time(pipeline["created_at"]) and pipeline["updated_at"] == pipeline["created_at"]
    assert server.get(answer.headers["location"]).json == pipeline


@pytest.mark.parametrize(
    "media_type",
    [
        "application/yaml",
        "application/x-yaml",
        "text/yaml",
        "text/x-yaml",
        "application/yaml; charset=utf-8",
        "Application/YAML",
    ],
)
def test_a_pipeline_may_be_the_yaml_text_itself(server: Server, media_type: str) -> None:
    answer = put_or_post(server, "POST", "/pipelines", CONFIG.encode(), media_type)
    assert answer.status == 201, answer.text
    assert (answer.json["name"], answer.json["config"]) == ("from the text", CONFIG)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_text_may_begin_with_a_byte_order_mark_and_have_any_line_ends(server: Server, mark: str) -> None:
    text = mark + "name: windows\r\nsteps:\r\n  - 'true'\r\n"
    answer = put_or_post(server, "POST", "/pipelines", text.encode(), "text/yaml")
    assert (answer.status, answer.json["name"], answer.json["config"]) == (201, "windows", text)


@pytest.mark.parametrize(
    ("json_name", "yaml_name", "expected"),
    [
        ("from json", None, "from json"),
        ("from json", "from yaml", "from yaml"),
        (None, "from yaml", "from yaml"),
        ("  spaces around  ", None, "spaces around"),
        ("ünïcödé ☃", None, "ünïcödé ☃"),
    ],
)
def test_the_name_in_the_yaml_wins_and_the_one_in_the_json_serves_where_it_has_none(
    server: Server, json_name: str | None, yaml_name: str | None, expected: str
) -> None:
    config = (f"name: {yaml_name}\n" if yaml_name else "") + "steps: ['true']\n"
    answer = put_or_post(
        server, "POST", "/pipelines", as_json(name=json_name, config=config), "application/json"
    )
    assert (answer.status, answer.json["name"]) == (201, expected)
    # A job of it knows the name too.
    details = server.wait_finished(server.start_build(answer.json["id"]))
    assert (details["pipeline"]["name"], details["pipeline"]["config"]) == (expected, config)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\0b", "x" * 201, 7, ["a"], {}])
def test_a_name_that_can_not_be_one_is_refused(server: Server, name: Any) -> None:
    answer = put_or_post(
        server, "POST", "/pipelines", as_json(name=name, config="steps: ['true']"), "application/json"
    )
    assert answer.status == 422
    assert answer.json["details"][0]["field"] == "name"


def test_a_name_in_neither_place_is_missed(server: Server) -> None:
    answer = put_or_post(server, "POST", "/pipelines", as_json(config="steps: ['true']"), "application/json")
    assert answer.status == 422
    assert answer.json["error"] == "line 1, column 1: the pipeline needs a 'name'"


def test_names_may_repeat(server: Server, new_name: Callable[[], str]) -> None:
    name = new_name()
    ids = [server.pipeline({"name": name, "steps": ["true"]}) for _ in range(2)]
    assert len(set(ids)) == 2
    named = server.get(f"/pipelines?name={name.replace(' ', '%20')}").json
    assert [pipeline["id"] for pipeline in named] == ids[::-1]


def test_a_pipeline_gets_a_new_definition_and_its_jobs_keep_theirs(server: Server) -> None:
    first = {"name": "before", "steps": ["echo before"]}
    pipeline_id = server.pipeline(first)
    job = server.wait_finished(server.start_build(pipeline_id))
    config = "name: after\nenv: {NEW: '1'}\nsteps: [echo after]\n"
    answer = put_or_post(server, "PUT", f"/pipelines/{pipeline_id}", config.encode(), "application/yaml")
    assert answer.status == 200
    assert list(answer.json) == PIPELINE
    assert (answer.json["id"], answer.json["name"], answer.json["config"]) == (pipeline_id, "after", config)
    assert answer.json["updated_at"] >= answer.json["created_at"]
    assert server.get(f"/pipelines/{pipeline_id}").json == answer.json
    # The snapshot is what the job ran with; a retry runs that, a new build what the pipeline says now.
    kept = server.details(job["job"]["id"])
    assert kept["pipeline"] == {"id": pipeline_id, "name": "before", "config": json.dumps(first)}
    again = server.post(f"/jobs/{job['job']['id']}/retry").json["id"]
    retried, started = server.wait_finished(again), server.wait_finished(server.start_build(pipeline_id))
    assert (retried["pipeline"], retried["steps"][0]["output"]) == (kept["pipeline"], "before\n")
    assert retried["environments"] == []
    assert (started["pipeline"]["config"], started["steps"][0]["output"]) == (config, "after\n")


def test_put_takes_json_too(server: Server) -> None:
    pipeline_id = server.pipeline({"name": "before", "steps": ["true"]})
    answer = put_or_post(
        server,
        "PUT",
        f"/pipelines/{pipeline_id}",
        as_json(name="n", config="steps: ['true']"),
        "application/json",
    )
    assert (answer.status, answer.json["name"]) == (200, "n")


def test_a_definition_that_is_refused_changes_nothing(server: Server) -> None:
    pipeline_id = server.pipeline({"name": "stays", "steps": ["true"]})
    before = server.get(f"/pipelines/{pipeline_id}").json
    answer = put_or_post(server, "PUT", f"/pipelines/{pipeline_id}", b"name: x", "application/yaml")
    assert answer.status == 422
    assert server.get(f"/pipelines/{pipeline_id}").json == before


def test_delete_hides_a_pipeline_and_its_jobs_stay_and_can_be_retried(server: Server) -> None:
    pipeline_id = server.pipeline({"name": "to be hidden", "steps": ["echo still here"]})
    job_id = server.wait_finished(server.start_build(pipeline_id))["job"]["id"]
    answer = server.request("DELETE", f"/pipelines/{pipeline_id}")
    assert (answer.status, answer.body) == (200, b'{"message":"pipeline deleted successfully"}')
    for method, path in (
        ("GET", f"/pipelines/{pipeline_id}"),
        ("PUT", f"/pipelines/{pipeline_id}"),
        ("DELETE", f"/pipelines/{pipeline_id}"),
        ("GET", f"/pipelines/{pipeline_id}/jobs"),
        ("POST", f"/pipelines/{pipeline_id}/jobs"),
    ):
        answer = server.request(method, path)
        assert (answer.status, answer.json) == (404, {"error": f"there is no pipeline {pipeline_id}"})
    assert pipeline_id not in [pipeline["id"] for pipeline in server.get("/pipelines?limit=200").json]
    assert [job["id"] for job in server.get(f"/jobs?pipeline_id={pipeline_id}").json] == [job_id]
    assert server.details(job_id)["pipeline"]["name"] == "to be hidden"
    retried = server.post(f"/jobs/{job_id}/retry")
    assert retried.status == 201
    assert server.wait_finished(retried.json["id"])["steps"][0]["output"] == "still here\n"
