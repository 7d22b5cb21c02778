"""What a start may be given: so many variables, of so many bytes, and none by which other code runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rapidflow_web.pipeline.variables import MAX_ENVIRONMENT, MAX_VARIABLES
from tests.support.server import Server

POWERS = [
    "BASH_ENV", "ENV", "LD_PRELOAD", "PYTHONSTARTUP", "GIT_SSH_COMMAND", "PATH", "PS4", "NODE_OPTIONS",
    "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "PIP_INDEX_URL", "npm_config_registry",
    "GOFLAGS",
    "RUSTC_WRAPPER", "MAKEFLAGS", "GLIBC_TUNABLES", "https_proxy", "EDITOR", "HOME", "RAPIDFLOW_BRANCH", "CI",
    "PYTEST_ADDOPTS", "CONFIG_SHELL", "CONFIG_SITE", "RM", "HGRCPATH", "APT_CONFIG",
]  # fmt: skip


def refused(server: Server, pipeline_id: int, variables: dict[str, Any]) -> list[str]:
    """What is said of a start with variables."""
    answer = server.post(f"/pipelines/{pipeline_id}/jobs", {"environments": variables})
    assert answer.status == 422, answer.text
    return [detail["message"] for detail in answer.json["details"]]


def test_a_variable_that_changes_what_runs_must_be_in_the_pipeline(server: Server) -> None:
    pipeline_id = server.pipeline({"name": "powers", "env": {"GIT_DEPTH": "1"}, "steps": ["echo $GIT_DEPTH"]})
    for name in POWERS:
        assert refused(server, pipeline_id, {name: "x"}) == [
            f"{name} can change what a build runs, and can only be given where the pipeline has it under "
            "'env'; whoever may change the definition can add it"
        ]
    page = server.request(
        "POST",
        f"/ui/pipelines/{pipeline_id}/jobs",
        "environment=BASH_ENV%3Dx",
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert page.status == 422
    assert "BASH_ENV can change what a build runs" in page.text
    answer = server.post(
        f"/pipelines/{pipeline_id}/jobs", {"environments": {"GIT_DEPTH": "7", "TARGET": "a", "GREETING": "b"}}
    )
    assert answer.status == 201
    details = server.wait_finished(answer.json["id"])
    assert details["steps"][0]["output"] == "7\n"
    assert server.post(f"/jobs/{answer.json['id']}/retry").status == 201


def test_variables_are_bounded_in_number_and_bytes(server: Server) -> None:
    pipeline_id = server.pipeline({"name": "bounded", "steps": ["true"]})
    (said,) = refused(server, pipeline_id, {f"K{i}": "" for i in range(MAX_VARIABLES + 1)})
    assert said == "the build would have 1001 variables; at most 1000 can be given"
    (said,) = refused(server, pipeline_id, {f"K{i}": "x" * 120_000 for i in range(8)} | {"L": "x" * 41_000})
    assert said.endswith(f"at most {MAX_ENVIRONMENT} can be given, use files")
    assert len(refused(server, pipeline_id, {f"K-{i}": "" for i in range(MAX_VARIABLES)})) == 100


@pytest.mark.parametrize("body", ['{"branch": [' + "{}," * 300_000 + "1]}", "[" * 900_000])
def test_a_body_of_too_many_values_is_not_even_read(server: Server, body: str) -> None:
    pipeline_id = server.pipeline({"name": "many values", "steps": ["true"]})
    answer = server.request(
        "POST", f"/pipelines/{pipeline_id}/jobs", body, {"Content-Type": "application/json"}
    )
    assert (answer.status, answer.json) == (
        400, {"error": "the body has more than 20000 values; send less at once"},
    )  # fmt: skip


def test_a_text_with_many_commas_is_one_value(server: Server) -> None:
    config = "name: commas\nsteps:\n- |\n  : " + ',[{"\\' * 50_000
    answer = server.request(
        "POST", "/pipelines", json.dumps({"config": config}), {"Content-Type": "application/json"}
    )
    assert answer.status == 201, answer.text


def test_a_form_of_too_many_fields_is_refused(server: Server) -> None:
    answer = server.request(
        "POST", "/ui/pipelines/check", "a&" * 2000, {"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status == 413


def test_a_poll_does_not_carry_what_can_be_large(docker_server: Server) -> None:
    config = {"name": "large poll", "env": {"A": "a" * 100_000}, "steps": [": " + "x" * 100_000]}
    job_id = docker_server.start_job(config)
    docker_server.wait_finished(job_id)
    page, poll = docker_server.get(f"/ui/jobs/{job_id}"), docker_server.get(f"/ui/jobs/{job_id}/state")
    assert page.text.count("a" * 100_000) >= 1
    assert len(poll.body) < 20_000
    # What a poll has in their place leaves them alone, which the elements on the page must say.
    for element in ("environment", "reproduction"):
        for text in (page.text, poll.text):
            assert f'id="{element}" hx-morph-skip>' in text
    small = docker_server.start_job({"name": "small poll", "env": {"A": "b" * 50}, "steps": ["true"]})
    docker_server.wait_finished(small)
    assert "docker run" in docker_server.get(f"/ui/jobs/{small}/state").text
    for path in ("", "/state"):
        assert '<div id="reproduction"><p' in docker_server.get(f"/ui/jobs/{small}{path}").text
