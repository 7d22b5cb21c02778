"""Starting, cancelling and retrying builds."""

from __future__ import annotations

import threading
from typing import Any

from tests.support.server import Server, containers_of, wait_for


def test_a_build_may_be_given_another_branch_and_variables_over_those_of_the_pipeline(
    server: Server, succeeded: dict[str, Any]
) -> None:
    environments = {entry["key"]: entry["value"] for entry in succeeded["environments"]}
    assert environments == {"CGO_ENABLED": "0", "GREETING": "hello", "EXTRA": "1"}
    answer = server.post(f"/pipelines/{succeeded['job']['pipeline_id']}/jobs", {"branch": "no-such-branch"})
    assert answer.status == 201
    assert answer.json["branch"] == "no-such-branch"
    details = server.wait_finished(answer.json["id"])
    assert details["job"]["status"] == "failed"
    assert "no-such-branch" in details["job"]["error"]
    assert {entry["value"] for entry in details["environments"]} == {"0", "good day"}


def test_an_empty_body_and_nulls_start_what_the_pipeline_says(server: Server) -> None:
    pipeline_id = server.pipeline({"name": "empty body", "env": {"A": "1"}, "steps": ["true"]})
    for body in ("{}", '{"branch": null}', '{"environments": {}}', " \n"):
        answer = server.request(
            "POST", f"/pipelines/{pipeline_id}/jobs", body, {"Content-Type": "application/json"}
        )
        assert answer.status == 201, answer.text
        details = server.wait_finished(answer.json["id"])
        assert [entry["key"] for entry in details["environments"]] == ["A"]


def test_the_environment_holds_no_variables_of_ours(server: Server) -> None:
    details = server.run({"name": "no environment", "steps": ['echo "$CI $RAPIDFLOW_JOB_ID"']})
    assert details["environments"] == []
    assert details["steps"][0]["output"] == f"true {details['job']['id']}\n"


def test_our_own_command_is_told_from_other_clients(server: Server) -> None:
    pipeline_id = server.pipeline({"name": "who", "steps": ["true"]})
    answer = server.request("POST", f"/pipelines/{pipeline_id}/jobs", headers={"User-Agent": "rapidflow/1.0"})
    assert answer.json["started_by"] == "cli"
    server.wait_finished(answer.json["id"])


def test_cancel_answers_when_the_container_is_gone(docker_server: Server) -> None:
    job_id = docker_server.start_job({"name": "to be cancelled", "steps": ["echo up; exec sleep 1000"]})
    docker_server.wait_output(job_id, "up")
    container = docker_server.job(job_id)["container_id"]
    assert container in containers_of(docker_server)
    answer = docker_server.post(f"/jobs/{job_id}/cancel")
    assert (answer.status, answer.body) == (200, b'{"message":"job cancelled successfully"}')
    assert container not in containers_of(docker_server)
    assert docker_server.job(job_id)["status"] == "cancelled"


def test_a_pending_job_is_cancelled_without_ever_starting(queue: Any) -> None:
    server: Server = queue.server
    job_id = server.start_job({"name": "waits", "steps": ["echo never"]})
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    details = server.details(job_id)
    job = details["job"]
    assert (job["status"], job["cancelled"], job["started_at"], job["container_id"]) == (
        "cancelled", True, None, None,
    )  # fmt: skip
    assert job["finished_at"] is not None
    assert [step["status"] for step in details["steps"]] == ["cancelled"]


def test_a_job_that_has_finished_can_not_be_cancelled(
    server: Server, succeeded: dict[str, Any], failed: dict[str, Any], cancelled: dict[str, Any]
) -> None:
    for details in (succeeded, failed, cancelled):
        job = details["job"]
        answer = server.post(f"/jobs/{job['id']}/cancel")
        assert answer.status == 400
        assert answer.json == {"error": f"job {job['id']} has already finished: {job['status']}"}


def test_retry_starts_a_new_job_with_all_that_the_old_one_ran_with(
    server: Server, succeeded: dict[str, Any], succeeded_stream: str
) -> None:
    old = succeeded["job"]
    answer = server.post(f"/jobs/{old['id']}/retry")
    new = answer.json
    assert answer.status == 201
    assert answer.headers["location"] == f"/jobs/{new['id']}"
    assert list(new) == list(old)
    assert (new["status"], new["retry_of"], new["cancelled"]) == ("pending", old["id"], False)
    assert (new["container_id"], new["started_at"], new["finished_at"]) == (None, None, None)
    copied = ("pipeline_id", "branch", "repo_name", "language", "version", "folder", "commit", "image")
    assert {key: new[key] for key in copied} == {key: old[key] for key in copied}
    details = server.wait_finished(new["id"])
    assert details["pipeline"] == succeeded["pipeline"]
    assert [(entry["key"], entry["value"]) for entry in details["environments"]] == [
        (entry["key"], entry["value"]) for entry in succeeded["environments"]
    ]
    assert server.stream(new["id"]) == succeeded_stream


def test_a_job_that_has_not_finished_can_not_be_retried(queue: Any) -> None:
    server: Server = queue.server
    pending = server.start_job({"name": "waits", "steps": ["true"]})
    for job_id, status in ((queue.holder, "running"), (pending, "pending")):
        answer = server.post(f"/jobs/{job_id}/retry")
        assert answer.status == 400
        assert answer.json == {"error": f"job {job_id} is {status}; it can be retried when it has finished"}
    queue.release()
    server.wait_finished(pending)


def test_the_timeline_of_a_pending_job_is_its_wait(queue: Any) -> None:
    server: Server = queue.server
    job_id = server.start_job({"name": "waits", "steps": ["true"]})
    (phase,) = server.get(f"/jobs/{job_id}/timeline").json
    assert (phase["name"], phase["finished_at"], phase["duration_ms"]) == ("queued", None, None)
    server.post(f"/jobs/{job_id}/cancel")
    (phase,) = server.get(f"/jobs/{job_id}/timeline").json
    assert phase["finished_at"] is not None and phase["duration_ms"] >= 0


def test_cancelled_is_true_from_the_request_on_and_a_second_cancel_waits_too(server: Server) -> None:
    script = "trap 'sleep 1; exit 0' TERM\necho up\nwhile :; do sleep 0.05; done\n"
    job_id = server.start_job({"name": "slow to stop", "steps": [script]})
    server.wait_output(job_id, "up")
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(server.post(f"/jobs/{job_id}/cancel").status))
    first.start()
    wait_for(lambda: server.job(job_id)["cancelled"], "the cancel is noted")
    assert server.job(job_id)["status"] == "running"
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert server.job(job_id)["status"] == "cancelled"
    first.join()
    assert answers == [200]
