"""Steps with `when`: which ones run, in which order, and what the build then says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.repos import Repo
from tests.support.server import Server

NO_FAILURE = "no step before it failed, and when.status is failure"
NOT_A_TAG = "the event 'api' does not fit when.event [tag]"


def step(script: str, **when: Any) -> dict[str, Any]:
    return {"content": script, "when": when}


def pipeline(*steps: str | dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"name": "conditions", "steps": list(steps), **keys}


def states(details: dict[str, Any]) -> list[tuple[str, int | None, str | None]]:
    return [(step["status"], step["exit_code"], step["skipped"]) for step in details["steps"]]


def test_step_that_is_left_out_stays_pending_and_is_not_in_the_log(process_server: Server) -> None:
    details = process_server.run(
        pipeline(step("echo publish", event="tag"), "echo one", step("x", event=["tag", "push"]), "echo two")
    )
    assert (details["job"]["status"], details["job"]["error"]) == ("success", None)
    assert states(details) == [
        ("pending", None, NOT_A_TAG),
        ("success", 0, None),
        ("pending", None, "the event 'api' does not fit when.event [tag, push]"),
        ("success", 0, None),
    ]
    assert process_server.stream(details["job"]["id"]) == (
        "=== Step 2 (bash) ===\none\n\n=== Step 4 (bash) ===\ntwo\n\n=== Build completed ===\n"
    )
    skipped = details["steps"][0]
    assert (skipped["output"], skipped["started_at"], skipped["finished_at"]) == ("", None, None)
    assert process_server.get(f"/steps/{skipped['id']}").json["skipped"] == NOT_A_TAG
    assert_ended_once(process_server, details["job"]["id"])


def test_branch_and_not_its_like_in_a_tag_decides(process_server: Server, repo: Repo) -> None:
    repo.commit({"a": b""})
    repo.git("branch", "release/1")
    config = pipeline(
        step("echo release", branches=["release/*"]),
        step("echo main", branches="main"),
        step("echo tag", tags="**"),
        step("echo paths", paths="nothing/**"),
        repo_name=repo.url,
    )
    details = process_server.run(config, branch="release/1")
    assert [status for status, _, _ in states(details)] == ["success", "pending", "pending", "success"]
    assert details["steps"][1]["skipped"] == "the branch 'release/1' does not fit when.branches [main]"
    assert details["steps"][2]["skipped"] == "there is no tag that could fit when.tags [**]"


def test_steps_for_a_failure_run_after_one_and_the_build_fails_with_the_first(process_server: Server) -> None:
    details = process_server.run(
        pipeline(
            step("echo early", status="failure"),
            "echo broken; exit 3",
            "echo never",
            step("echo report", status="failure"),
            step("echo broken too; exit 4", status="always"),
            step("echo clean", status=["success", "failure"]),
            step("echo tag", status="always", event="tag"),
        )
    )
    job = details["job"]
    assert (job["status"], job["error"]) == ("failed", "step 2 (bash) exited with 3")
    assert states(details) == [
        ("pending", None, NO_FAILURE),
        ("failed", 3, None),
        ("pending", None, None),
        ("success", 0, None),
        ("failed", 4, None),
        ("success", 0, None),
        ("pending", None, NOT_A_TAG),
    ]
    assert process_server.stream(job["id"]) == (
        "=== Step 2 (bash) ===\nbroken\n\n=== Step 4 (bash) ===\nreport\n\n"
        "=== Step 5 (bash) ===\nbroken too\n\n=== Step 6 (bash) ===\nclean\n\n"
        "=== Build failed: step 2 (bash) exited with 3 ===\n=== Build completed ===\n"
    )
    assert_ended_once(process_server, job["id"])


def test_steps_for_a_failure_are_left_out_of_a_success(process_server: Server) -> None:
    details = process_server.run(
        pipeline("echo fine", step("echo report", status="failure"), step("echo clean", status="always"))
    )
    assert details["job"]["status"] == "success"
    assert states(details) == [("success", 0, None), ("pending", None, NO_FAILURE), ("success", 0, None)]
    assert_ended_once(process_server, details["job"]["id"])


def test_build_whose_last_step_is_left_out_ends_after_the_one_before(process_server: Server) -> None:
    details = process_server.run(
        pipeline("echo one", step("echo report", status="failure"), step("x", event="tag"))
    )
    assert details["job"]["status"] == "success"
    assert [status for status, _, _ in states(details)] == ["success", "pending", "pending"]


def test_build_of_which_all_steps_are_left_out_succeeds_without_a_container(server: Server) -> None:
    details = server.run(pipeline(step("echo tag", event="tag"), step("echo report", status="failure")))
    job = details["job"]
    assert (job["status"], job["container_id"]) == ("success", None)
    assert states(details) == [("pending", None, NOT_A_TAG), ("pending", None, NO_FAILURE)]
    assert server.stream(job["id"]) == "=== Build completed ===\n"
    assert_ended_once(server, job["id"])


def test_retry_leaves_out_what_the_first_run_left_out_and_judges_failures_anew(
    process_server: Server,
) -> None:
    report = step("echo report", status="failure")
    config = pipeline(step("echo x", event="tag"), "exit $FAIL", report, env={"FAIL": "0"})
    first = process_server.run(config)
    assert states(first) == [
        ("pending", None, NOT_A_TAG),
        ("success", 0, None),
        ("pending", None, NO_FAILURE),
    ]
    retried = process_server.post(f"/jobs/{first['job']['id']}/retry").json["id"]
    assert states(process_server.wait_finished(retried)) == states(first)
    failed = process_server.run(config, environments={"FAIL": "1"})
    assert states(failed) == [("pending", None, NOT_A_TAG), ("failed", 1, None), ("success", 0, None)]
    process_server.sql("UPDATE environment SET value = '1' WHERE job_id = ?", first["job"]["id"])
    again = process_server.post(f"/jobs/{first['job']['id']}/retry").json["id"]
    assert states(process_server.wait_finished(again)) == states(failed)


@pytest.mark.parametrize("failing", ["", "; exit 5"])
def test_cancel_runs_no_further_step(process_server: Server, failing: str) -> None:
    job_id = process_server.start_job(
        pipeline(
            step("echo x", event="tag"),
            f"trap 'echo bye{failing}; exit' TERM; echo up; sleep 60 & wait",
            step("echo always", status="always"),
            step("echo report", status="failure"),
        )
    )
    process_server.wait_output(job_id, "up\n")
    assert process_server.post(f"/jobs/{job_id}/cancel").status == 200
    details = assert_ended_once(process_server, job_id)
    assert [step["status"] for step in details["steps"]] == ["pending", *["cancelled"] * 3]
    assert "always" not in process_server.stream(job_id) and "report" not in process_server.stream(job_id)


def test_cancel_during_a_step_for_a_failure_ends_the_build_as_cancelled(process_server: Server) -> None:
    job_id = process_server.start_job(
        pipeline("exit 3", step("echo up; sleep 60", status="always"), step("echo late", status="always"))
    )
    process_server.wait_output(job_id, "up\n")
    process_server.post(f"/jobs/{job_id}/cancel")
    details = assert_ended_once(process_server, job_id)
    assert details["job"]["status"] == "cancelled"
    assert [step["status"] for step in details["steps"]] == ["failed", "cancelled", "cancelled"]
    assert "late" not in process_server.stream(job_id)


def test_timeout_runs_no_further_step(process_server: Server) -> None:
    details = process_server.run(
        pipeline("echo up; sleep 60", step("echo late", status="always"), timeout="3s")
    )
    assert details["job"]["error"] == "the build timed out after 3s"
    assert [step["status"] for step in details["steps"]] == ["failed", "pending"]
    assert_ended_once(process_server, details["job"]["id"])


def test_timeout_of_a_step_after_a_failure_leaves_the_first_failure_as_the_reason(
    process_server: Server,
) -> None:
    details = process_server.run(
        pipeline("exit 3", step("sleep 60", status="always"), step("x", status="always"), timeout="5s")
    )
    assert details["job"]["error"] == "step 1 (bash) exited with 3"
    assert [step["status"] for step in details["steps"]] == ["failed", "failed", "pending"]
    assert_ended_once(process_server, details["job"]["id"])


def test_memory_that_ran_out_is_the_reason_also_after_a_step_that_cleans_up(server: Server) -> None:
    grow = "exec 2>&1; python3 -c 'x = bytearray(500_000_000)' || awk 'BEGIN{while(1)x=x x \"aaaaaaaa\"}'"
    details = server.run(
        pipeline("true", f"{grow}; exit 137", step("echo clean", status="always"), memory="64m")
    )
    assert [step["exit_code"] for step in details["steps"]] == [0, 137, 0]
    assert details["job"]["error"] == "step 2 (bash) ran out of memory (limit 64m)"


def test_nothing_is_left_of_builds_with_conditions(server: Server) -> None:
    assert_nothing_left(server)
