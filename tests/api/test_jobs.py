"""Jobs, details and logs as JSON: which fields, in which order, of which kind."""

from __future__ import annotations

import re
from typing import Any

from tests.support.repos import Repo
from tests.support.server import Server

JOB = [
    "id", "pipeline_id", "status", "branch", "repo_name", "language", "version", "folder", "expose_ports",
    "cancelled", "container_id", "created_at", "started_at", "finished_at",
    "error", "commit", "retry_of", "ports", "image", "started_by",
    "event", "ref", "title", "author", "pull_request", "superseded_by", "waits_for",
]  # fmt: skip
STEP = [
    "id", "job_id", "order_num", "type", "content", "status", "output", "created_at",
    "name", "exit_code", "started_at", "finished_at", "skipped",
]  # fmt: skip
LOG = ["step_id", "order_num", "type", "content", "status", "output", "created_at"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def is_time(value: Any) -> bool:
    return isinstance(value, str) and TIME.fullmatch(value) is not None


def test_a_new_job_is_pending_and_nothing_has_happened_to_it(server: Server, go_config: str) -> None:
    pipeline_id = server.pipeline(go_config)
    answer = server.post(f"/pipelines/{pipeline_id}/jobs")
    job = answer.json
    assert answer.status == 201
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert answer.headers["content-type"] == "application/json"
    assert list(job) == JOB
    assert is_time(job.pop("created_at"))
    assert job.pop("id") > 0
    assert job.pop("image").startswith("rapidflow-test/")
    assert job.pop("repo_name").startswith("file:///")
    assert job == {
        "pipeline_id": pipeline_id,
        "status": "pending",
        "branch": "main",
        "language": "golang",
        "version": "1.21",
        "folder": "./my-go-app",
        "expose_ports": False,
        "cancelled": False,
        "container_id": None,
        "started_at": None,
        "finished_at": None,
        "error": None,
        "commit": None,
        "retry_of": None,
        "ports": None,
        "started_by": "api",
        "event": "api",
        "ref": "refs/heads/main",
        "title": None,
        "author": None,
        "pull_request": None,
        "superseded_by": None,
        "waits_for": None,
    }
    server.wait_finished(int(answer.headers["location"].rpartition("/")[2]))


def test_what_a_pipeline_does_not_say_is_null(server: Server) -> None:
    job = server.post(f"/pipelines/{server.pipeline({'name': 'least', 'steps': ['true']})}/jobs").json
    unsaid = ("branch", "repo_name", "language", "version", "folder", "image")
    assert {key: job[key] for key in unsaid} == dict.fromkeys(unsaid)
    assert job["expose_ports"] is False
    server.wait_finished(job["id"])


def test_a_job_that_ran_has_its_times_and_commit(succeeded: dict[str, Any]) -> None:
    job = succeeded["job"]
    assert list(job) == JOB
    assert re.fullmatch(r"[0-9a-f]{40}", job["commit"])
    assert is_time(job["started_at"]) and is_time(job["finished_at"])
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert (job["status"], job["cancelled"], job["error"]) == ("success", False, None)


def test_details_hold_the_job_its_pipeline_its_steps_and_what_it_was_given(
    server: Server, succeeded: dict[str, Any], go_config: str
) -> None:
    job_id, pipeline_id = succeeded["job"]["id"], succeeded["job"]["pipeline_id"]
    assert list(succeeded) == ["job", "pipeline", "steps", "environments"]
    assert succeeded["job"] == server.job(job_id)
    assert list(succeeded["pipeline"].items()) == [
        ("id", pipeline_id),
        ("name", "Go Build Pipeline"),
        ("config", go_config),
    ]
    assert all(list(step) == STEP for step in succeeded["steps"])
    assert [list(entry) for entry in succeeded["environments"]] == [["id", "job_id", "key", "value"]] * 3
    assert {(entry["job_id"], entry["key"], entry["value"]) for entry in succeeded["environments"]} == {
        (job_id, "CGO_ENABLED", "0"),
        (job_id, "GREETING", "hello"),
        (job_id, "EXTRA", "1"),
    }


def test_steps_have_their_order_type_content_output_and_end(succeeded: dict[str, Any]) -> None:
    steps = succeeded["steps"]
    assert [step["order_num"] for step in steps] == [1, 2, 3, 4]
    assert [step["type"] for step in steps] == ["bash", "sh", "bash", "bash"]
    assert [step["name"] for step in steps] == ["download", None, None, None]
    assert [step["content"] for step in steps][1:] == [
        "true",
        "printf 'no newline at the end'",
        "cat hello.txt",
    ]
    assert [step["output"] for step in steps] == [
        "go: downloading github.com/gofiber/fiber/v2 v2.50.0\n"
        "go: downloading github.com/jmoiron/sqlx v1.3.5\n",
        "",
        "no newline at the end",
        "Build completed successfully\n",
    ]
    assert {step["job_id"] for step in steps} == {succeeded["job"]["id"]}
    assert {(step["status"], step["exit_code"]) for step in steps} == {("success", 0)}
    assert [step["id"] for step in steps] == sorted(step["id"] for step in steps)
    for step in steps:
        assert is_time(step["created_at"]) and is_time(step["started_at"]) and is_time(step["finished_at"])


def test_a_step_that_failed_keeps_its_output_and_later_ones_stay_pending(failed: dict[str, Any]) -> None:
    job, steps = failed["job"], failed["steps"]
    assert (job["status"], job["error"]) == ("failed", "step 2 (bash) exited with 3")
    assert [step["status"] for step in steps] == ["success", "failed", "pending"]
    assert [step["exit_code"] for step in steps] == [0, 3, None]
    assert [step["output"] for step in steps] == ["fine\n", "oh no\n", ""]
    assert steps[2]["started_at"] is None and steps[2]["finished_at"] is None


def test_a_step_that_was_cancelled_keeps_what_it_printed_while_it_cleaned_up(
    cancelled: dict[str, Any],
) -> None:
    job, steps = cancelled["job"], cancelled["steps"]
    assert (job["status"], job["cancelled"], job["error"]) == ("cancelled", True, None)
    assert is_time(job["finished_at"])
    assert [step["status"] for step in steps] == ["cancelled", "cancelled"]
    assert steps[0]["output"] == "working\ncleaning up\n"
    assert (steps[1]["output"], steps[1]["started_at"]) == ("", None)


def test_the_logs_of_a_job_are_those_of_its_steps(server: Server, succeeded: dict[str, Any]) -> None:
    logs = server.get(f"/jobs/{succeeded['job']['id']}/logs").json
    assert list(logs) == ["job_id", "status", "logs"]
    assert (logs["job_id"], logs["status"]) == (succeeded["job"]["id"], "success")
    assert [list(entry) for entry in logs["logs"]] == [LOG] * 4
    for entry, step in zip(logs["logs"], succeeded["steps"], strict=True):
        assert entry == {"step_id": step["id"]} | {key: step[key] for key in LOG[1:]}


def test_the_log_of_a_step_names_its_job_after_itself(server: Server, succeeded: dict[str, Any]) -> None:
    step = succeeded["steps"][0]
    log = server.get(f"/steps/{step['id']}/logs").json
    assert list(log) == ["step_id", "job_id", *LOG[1:]]
    assert log == {"step_id": step["id"]} | {key: step[key] for key in ("job_id", *LOG[1:])}


def test_steps_are_the_same_wherever_they_are_asked_for(server: Server, succeeded: dict[str, Any]) -> None:
    assert server.get(f"/jobs/{succeeded['job']['id']}/steps").json == succeeded["steps"]
    for step in succeeded["steps"]:
        answer = server.get(f"/steps/{step['id']}").json
        assert list(answer) == STEP
        assert answer == step


def test_details_that_were_asked_for_before_are_the_same_again(
    server: Server, succeeded: dict[str, Any], failed: dict[str, Any]
) -> None:
    for details in (succeeded, failed, succeeded):
        assert server.details(details["job"]["id"]) == details


def test_a_job_that_ran_in_a_container_has_its_id(docker_server: Server) -> None:
    job = docker_server.run({"name": "contained", "steps": ["true"]})["job"]
    assert list(job) == JOB
    assert re.fullmatch(r"[0-9a-f]{64}", job["container_id"])


def test_the_timeline_has_what_happened_before_the_first_step(docker_server: Server, repo: Repo) -> None:
    repo.commit({"a": "b"})
    job = docker_server.run({"name": "timeline", "repo_name": repo.url, "steps": ["true"]})["job"]
    timeline = docker_server.get(f"/jobs/{job['id']}/timeline").json
    assert {phase["name"] for phase in timeline} == {"queued", "image", "source", "container"}
    assert timeline[0]["name"] == "queued"
    for phase in timeline:
        assert list(phase) == ["name", "started_at", "finished_at", "duration_ms", "detail", "failed"]
        assert is_time(phase["started_at"]) and is_time(phase["finished_at"])
        assert phase["duration_ms"] >= 0
        assert phase["failed"] is False


def test_health_says_that_the_server_and_its_engine_are_well(docker_server: Server) -> None:
    health = docker_server.get("/health").json
    assert list(health) == ["status", "version", "executor", "engine"]
    assert (health["status"], health["executor"], health["engine"]) == ("ok", "docker", "ok")


def test_the_headers_of_an_answer_can_be_asked_for_alone(server: Server, succeeded: dict[str, Any]) -> None:
    path = f"/jobs/{succeeded['job']['id']}/details"
    whole, head = server.get(path), server.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.body))
