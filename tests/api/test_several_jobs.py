"""Builds of several jobs: the lead job and its parts, over HTTP."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support import gates
from tests.support.repos import Repo
from tests.support.server import Answer, Server, wait_for

JSON = {"Content-Type": "application/json"}


def config(jobs: str, top: str = "") -> str:
    return f"name: several\n{top}jobs:\n{jobs}"


def states(details: dict[str, Any]) -> dict[str, str]:
    return {step["content"]: step["part"]["state"] for step in details["steps"]}


def part(details: dict[str, Any], name: str) -> dict[str, Any]:
    return next(step for step in details["steps"] if step["content"] == name)


def wait_state(server: Server, job_id: int, name: str, state: str, seconds: float = 30) -> dict[str, Any]:
    """The step of a part, once the part has a state."""
    end = time.monotonic() + seconds
    while (step := part(server.details(job_id), name))["part"]["state"] != state:
        assert time.monotonic() < end, f"{name} is {step['part']}"
        time.sleep(0.02)
    return step


def test_a_diamond(server: Server, repo: Repo) -> None:
    first = repo.commit({"hello.txt": "one\n"})
    text = config(
        f"""\
  begin: {{steps: [cat hello.txt, '{gates.waiting()}']}}
  left: {{needs: begin, steps: [cat hello.txt]}}
  right: {{needs: [begin], steps: [cat hello.txt]}}
  end: {{needs: [left, right], steps: [cat hello.txt]}}
""",
        f"repo_name: {repo.url}\nbranch: main\n",
    )
    job_id = server.start_job(text)
    begin = wait_state(server, job_id, "begin", "running")["part"]["job_id"]
    server.wait_output(begin, "Step 2")
    assert states(server.details(job_id)) == {
        "begin": "running", "left": "waiting", "right": "waiting", "end": "waiting",
    }  # fmt: skip
    # The branch moves on meanwhile; all parts build the commit that the build began with.
    repo.commit({"hello.txt": "two\n"})
    gates.let_go(server, begin)
    details = server.wait_finished(job_id)
    assert details["job"]["status"] == "success"
    assert details["job"]["commit"] == first
    assert set(states(details).values()) == {"success"}
    for step in details["steps"]:
        assert step["type"] == "job" and step["status"] == "success" and step["exit_code"] == 0
        one = server.details(step["part"]["job_id"])
        assert one["job"]["commit"] == first
        assert (one["job"]["lead_id"], one["job"]["part"], one["job"]["attempt"]) == (
            job_id,
            step["content"],
            1,
        )
        assert one["steps"][0]["output"].startswith("one\n")
    lines = server.stream(job_id).splitlines()
    assert lines[-1] == "=== Build completed ==="
    assert [line for line in lines if line.startswith("end: ")] == [
        f"end: runs as job {part(details, 'end')['part']['job_id']}",
        next(line for line in lines if line.startswith("end: success after ")),
    ]
    assert part(details, "end")["output"].splitlines() == [line for line in lines if line.startswith("end: ")]


def test_lists_show_builds_and_not_their_parts(server: Server) -> None:
    job_id = server.start_job(config("  a: {steps: ['true']}\n  b: {steps: ['true']}\n"))
    details = server.wait_finished(job_id)
    pipeline_id = details["job"]["pipeline_id"]
    assert [job["id"] for job in server.get(f"/jobs?pipeline_id={pipeline_id}").json] == [job_id]
    assert [job["id"] for job in server.get(f"/pipelines/{pipeline_id}/jobs").json] == [job_id]
    parts = server.get(f"/jobs?lead_id={job_id}").json
    assert sorted(job["part"] for job in parts) == ["a", "b"]
    assert "lead_id" not in details["job"]


@pytest.mark.parametrize(
    ("jobs", "expected", "status"),
    [
        (
            """\
  a: {steps: [exit 3]}
  b: {needs: a, steps: ['true']}
  c: {needs: b, steps: ['true']}
  d: {needs: c, if: always(), steps: ['true']}
  e: {needs: d, steps: ['true']}
  f: {steps: ['true']}
""",
            ["failed", "skipped", "skipped", "success", "success", "success"],
            "failed",
        ),
        (
            """\
  a: {if: branch == 'never', steps: ['true']}
  b: {needs: a, steps: ['true']}
  c: {needs: b, if: failure(), steps: ['true']}
  d: {needs: c, steps: ['true']}
""",
            ["skipped", "success", "skipped", "success"],
            "success",
        ),
        (
            """\
  a: {steps: [exit 42], allow_failure: {exit_codes: [42]}}
  b: {needs: a, steps: ['true']}
  c: {steps: [exit 1], allow_failure: {exit_codes: [42]}}
  d: {needs: [a, {job: c, optional: true}], steps: ['true']}
""",
            ["forgiven", "success", "failed", "success"],
            "failed",
        ),
        (
            "  a: {steps: [sleep 60], timeout: 1s, allow_failure: true}\n",
            ["failed"],
            "failed",
        ),
    ],
)
def test_what_runs_after_what(server: Server, jobs: str, expected: list[str], status: str) -> None:
    details = server.run(config(jobs))
    assert list(states(details).values()) == expected
    assert details["job"]["status"] == status
    for step in details["steps"]:
        assert (step["part"]["job_id"] is None) == (step["part"]["state"] == "skipped")
        assert (step["skipped"] is not None) == (step["part"]["state"] == "skipped")


def test_the_log_says_that_a_failure_is_allowed(server: Server) -> None:
    details = server.run(config("  a: {steps: [exit 3], allow_failure: true}\n"))
    assert states(details) == {"a": "forgiven"}
    last = details["steps"][0]["output"].splitlines()[-1]
    assert re.fullmatch(r"a: failed after \S+: the failure is allowed: .* exited with 3", last), last


def test_a_matrix_runs_each_combination_and_never_more_at_once(server: Server) -> None:
    text = config(
        """\
  test:
    matrix: {os: [a, b, c], n: [1, 2], exclude: [{os: c, n: 2}], include: [{os: a, extra: x}, {os: d}]}
    max_parallel: 2
    env: {OS: "${{ matrix.os }}"}
    steps: ['echo "$OS" ${{ matrix.os }}; sleep 0.3']
"""
    )
    job_id = server.start_job(text)
    most = 0
    while server.job(job_id)["status"] in ("pending", "running"):
        running = [
            job
            for job in server.get(f"/jobs?lead_id={job_id}").json
            if job["status"] in ("pending", "running")
        ]
        most = max(most, len(running))
    details = server.details(job_id)
    assert most == 2
    assert list(states(details)) == [
        "test (os=a, n=1, extra=x)", "test (os=a, n=2, extra=x)", "test (os=b, n=1)", "test (os=b, n=2)",
        "test (os=c, n=1)", "test (os=d)",
    ]  # fmt: skip
    one = server.details(part(details, "test (os=d)")["part"]["job_id"])
    assert one["steps"][0]["output"] == "d d\n"


def test_fail_fast_ends_the_others(server: Server) -> None:
    text = config(
        """\
  test:
    matrix: {n: [1, 2, 3]}
    max_parallel: 2
    fail_fast: true
    steps: ['if [ ${{ matrix.n }} = 1 ]; then sleep 1; exit 1; fi; sleep 60']
"""
    )
    job_id = server.start_job(text)
    failed = wait_state(server, job_id, "test (n=1)", "failed")
    # At once, not when it looks at its parts the next time.
    wait_state(server, job_id, "test (n=2)", "cancelled", seconds=8)
    assert failed["exit_code"] == 1
    details = server.wait_finished(job_id)
    assert list(states(details).values()) == ["failed", "cancelled", "cancelled"]
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "test (n=1): step 1 (bash) exited with 1"
    assert part(details, "test (n=3)")["part"]["reason"] == "ended because test (n=1) failed"


def test_the_reason_of_a_build_is_that_of_its_first_failed_part(server: Server) -> None:
    text = config("  a: {steps: ['true']}\n  b: {steps: ['true', 'echo error: no such thing; exit 3']}\n")
    details = server.run(text)
    failed = part(details, "b")["part"]["job_id"]

    def shown() -> bool:
        page = server.get("/ui/builds").text
        return f'href="/ui/jobs/{failed}#step:2:1"' in page and "b: Step 2 failed (exit 3)" in page

    wait_for(shown, "the list of builds has the reason")


def test_a_missing_secret_fails_the_build_before_anything_runs(server: Server) -> None:
    details = server.run(config("  a: {steps: ['true']}\n  b: {secrets: [NOT_STORED], steps: ['true']}\n"))
    assert details["job"]["status"] == "failed" and "NOT_STORED" in details["job"]["error"]
    assert server.get(f"/jobs?lead_id={details['job']['id']}").json == []


def test_a_part_runs_again_as_often_as_it_may(server: Server) -> None:
    text = config(
        """\
  a: {retry: {max: 2, exit_codes: [75]}, steps: [exit 75]}
  b: {retry: {max: 2, exit_codes: [75]}, steps: [exit 1]}
  c: {retry: 1, steps: ['test "$RAPIDFLOW_ATTEMPT" = 2']}
"""
    )
    details = server.run(text)
    assert [part(details, name)["part"]["attempt"] for name in "abc"] == [3, 1, 2]
    assert list(states(details).values()) == ["failed", "failed", "success"]
    attempts = server.get(f"/jobs?lead_id={details['job']['id']}").json
    assert sorted(job["attempt"] for job in attempts if job["part"] == "a") == [1, 2, 3]
    for job in attempts:
        assert server.stream(job["id"]).startswith("=== Step 1")


def test_a_cancel_ends_all_parts(server: Server) -> None:
    text = config(
        """\
  a: {steps: [echo on; sleep 60]}
  b: {needs: a, if: always(), steps: ['true']}
  c: {steps: ['true']}
"""
    )
    job_id = server.start_job(text)
    wait_state(server, job_id, "c", "success")
    wait_state(server, job_id, "a", "running")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    details = server.details(job_id)
    assert details["job"]["status"] == "cancelled"
    assert list(states(details).values()) == ["cancelled", "cancelled", "success"]
    assert part(details, "b")["part"]["job_id"] is None
    assert server.stream(job_id).splitlines()[-1] == "=== Build completed ==="


def test_what_failed_runs_again_alone_with_what_needs_it(server: Server, repo: Repo) -> None:
    marker = server.data / f"fixed-{time.monotonic_ns()}"
    repo.commit({"hello.txt": "one\n"})
    text = config(
        f"""\
  test:
    matrix: {{n: [1, 2]}}
    steps: ['test ${{{{ matrix.n }}}} = 1 || test -e {marker}']
  other: {{steps: ['true']}}
  deploy: {{needs: test, steps: ['true']}}
""",
        f"repo_name: {repo.url}\nbranch: main\n",
    )
    first = server.run(text)
    assert list(states(first).values()) == ["success", "failed", "success", "skipped"]
    marker.touch()
    repo.commit({"hello.txt": "two\n"})
    answer = server.post(f"/jobs/{first['job']['id']}/retry", {"only": "failed"})
    assert answer.status == 201
    again = server.wait_finished(answer.json["id"])
    assert again["job"]["commit"] == first["job"]["commit"]
    assert set(states(again).values()) == {"success"}
    for name in ("test (n=1)", "other"):
        assert part(again, name)["part"]["job_id"] == part(first, name)["part"]["job_id"]
    ran = {job["part"] for job in server.get(f"/jobs?lead_id={again['job']['id']}").json}
    assert ran == {"test (n=2)", "deploy"}
    refused = server.post(f"/jobs/{again['job']['id']}/retry", {"only": "failed"})
    assert (refused.status, refused.json["error"][:14]) == (400, "nothing failed")
    of_part = server.post(f"/jobs/{part(again, 'deploy')['part']['job_id']}/retry")
    assert of_part.status == 400 and f"is a part of build {again['job']['id']}" in of_part.json["error"]


def test_who_decides_a_moment_too_late_is_told_what_was_decided(server: Server) -> None:
    numbers = list(range(1, 21))
    ship = {"matrix": {"n": numbers}, "approval": True, "steps": ["true"]}
    job_id = server.start_build(server.pipeline({"name": "several", "jobs": {"ship": ship}}))
    names = [f"ship (n={number})" for number in numbers]
    wait_state(server, job_id, names[-1], "waits_for_approval")

    def decide(part: str, decision: str) -> Answer:
        return server.post(f"/jobs/{job_id}/{decision}", {"part": part})

    with ThreadPoolExecutor(8) as several:
        asked = [(name, word) for name in names for word in ("approve", "reject", "approve", "reject")]
        answers = list(several.map(lambda one: decide(*one), asked))
    assert [answer.status for answer in answers].count(200) == len(names)
    for answer in answers:
        assert answer.status == 200 or "; it is waits_for_approval" not in answer.text
    server.wait_finished(job_id)


def test_an_approval_lets_a_part_go_or_ends_it(server: Server) -> None:
    pipeline_id = server.pipeline(
        config("  deploy: {approval: true, steps: ['true']}\n  after: {needs: deploy, steps: ['true']}\n")
    )
    job_id = server.start_build(pipeline_id)
    wait_state(server, job_id, "deploy", "waits_for_approval")
    early = server.post(f"/jobs/{job_id}/approve", {"part": "after"})
    assert (early.status, early.json["error"]) == (409, "'after' does not wait for an approval yet")
    assert server.post(f"/jobs/{job_id}/approve", {"part": "nothing"}).status == 400
    assert server.post(f"/jobs/{job_id}/approve", {}).status == 422
    for decision in ("approve", "reject"):
        whole = server.post(f"/jobs/{job_id}/{decision}", {"commit": "0" * 40})
        assert (whole.status, whole.json["error"]) == (
            409,
            f"job {job_id} does not wait for an approval as a whole; name the part that does, as in "
            f"'rapidflow {decision} {job_id} deploy'",
        )
    assert server.post(f"/jobs/{job_id}/approve", {"part": "deploy"}).status == 200
    assert server.wait_finished(job_id)["job"]["status"] == "success"
    assert "deploy: approved by api\n" in server.stream(job_id)
    for decision in ("approve", "reject"):
        late = server.post(f"/jobs/{job_id}/{decision}", {"part": "deploy"})
        assert (late.status, late.json["error"]) == (409, "'deploy' was already approved by api")

    job_id = server.start_build(pipeline_id)
    wait_state(server, job_id, "deploy", "waits_for_approval")
    # How long people take says nothing about how long the build takes.
    assert 'class="pace"' not in server.get(f"/ui/jobs/{job_id}").text
    assert "<progress" not in server.get("/ui/overview").text.split(f'id="now-{job_id}"')[1].split("</li>")[0]
    assert server.post(f"/jobs/{job_id}/reject", {"part": "deploy"}).status == 200
    details = server.wait_finished(job_id)
    assert list(states(details).values()) == ["cancelled", "skipped"]
    assert details["job"]["error"] == "deploy: rejected by api"
    assert server.stream(job_id).count("deploy: cancelled: rejected by api\n") == 1
    assert details["steps"][0]["output"].endswith("deploy: cancelled: rejected by api\n")
    wait_for(lambda: "Rejected by api." in server.get("/ui/builds").text, "the list says why")
    assert "Deploy: rejected" not in server.get(f"/ui/jobs/{job_id}").text


def test_builds_of_a_group_run_one_at_a_time(server: Server) -> None:
    pipeline_id = server.pipeline(
        config("  a: {concurrency: {group: mine}, steps: [sleep 0.5]}\n", "concurrency: {group: mine}\n")
    )
    builds = [server.start_build(pipeline_id) for _ in range(3)]
    plain = server.start_job("name: plain\nconcurrency: mine\nsteps: ['true']\n")
    while server.job(plain)["status"] in ("pending", "running"):
        running = [job for job in server.get("/jobs?status=running").json if job["id"] in (*builds, plain)]
        assert len(running) <= 1
    assert [server.wait_finished(one)["job"]["status"] for one in builds] == ["success"] * 3


def test_a_part_with_secrets_gets_no_variable_that_only_others_name(server: Server) -> None:
    server.request("PUT", "/secrets/SEVERAL_TOKEN", b'{"value": "hunter2-several"}', JSON)
    text = config(
        """\
  test: {env: {NODE_OPTIONS: ""}, steps: ['echo "options: $NODE_OPTIONS"']}
  deploy: {secrets: [SEVERAL_TOKEN], steps: ['echo "options: $NODE_OPTIONS"']}
"""
    )
    details = server.run(text, environments={"NODE_OPTIONS": "given"})
    outputs = {
        step["content"]: server.details(step["part"]["job_id"])["steps"][0]["output"]
        for step in details["steps"]
    }
    assert outputs == {"test": "options: given\n", "deploy": "options: \n"}


def test_head_of_a_stream_without_some_parts_does_not_wait(server: Server) -> None:
    job_id = server.start_job(config("  a: {steps: ['true']}\n  b: {needs: a, steps: [sleep 60]}\n"))
    a = wait_state(server, job_id, "a", "success")
    answer = server.request("HEAD", f"/jobs/{job_id}/logs/stream?follow=true&since={a['id']}")
    assert answer.status == 200
    assert server.post(f"/jobs/{job_id}/cancel").status == 200


def test_since_leaves_out_the_lines_of_earlier_parts(server: Server) -> None:
    job_id = server.start_job(config("  a: {steps: ['true']}\n  b: {needs: a, steps: [sleep 1]}\n"))
    a = wait_state(server, job_id, "a", "success")
    followed = server.follow(job_id, f"follow=true&since={a['id']}").wait().decode()
    whole = server.stream(job_id)
    kept = "".join(line for line in whole.splitlines(keepends=True) if not line.startswith("a: "))
    assert kept.startswith("b: runs as job ") and kept != whole
    assert followed == server.stream(job_id, f"since={a['id']}") == kept
    assert server.stream(job_id, f"since={a['id']}&offset=3") == kept[3:]
    assert server.stream(job_id, f"since={a['id']}&tail=1") == "=== Build completed ===\n"
    last = part(server.details(job_id), "b")["id"]
    assert server.stream(job_id, f"since={last}") == "=== Build completed ===\n"
    assert server.get(f"/jobs/{job_id}/logs/stream?since={last}&offset=1000").status == 416


def test_a_group_runs_in_order_and_a_build_is_never_in_its_own_way(server: Server) -> None:
    text = config(
        """\
  a: {concurrency: {group: two-parts}, steps: ['true']}
  b: {concurrency: {group: two-parts}, steps: ['true']}
""",
        "concurrency: {group: two-parts}\n",
    )
    assert server.run(text)["job"]["status"] == "success"


def test_a_pipeline_that_is_not_right_is_refused_with_the_line(server: Server) -> None:
    for jobs, said in (
        ("  a: {needs: b, steps: ['true']}\n", "line 3, column 14: there is no job 'b'"),
        ("  a: {needs: a, steps: ['true']}\n", "these jobs wait for each other: a -> a"),
        (
            "  a:\n    matrix: {n: [1, 2]}\n    steps: ['echo ${{ branch }}']\n",
            "'${{ branch }}' is not known here, only matrix",
        ),
        ("  a: {if: branch = 'main', steps: ['true']}\n", "line 3, column 11: 'if' at"),
    ):
        answer = server.post("/pipelines", {"name": "several", "config": config(jobs)})
        assert answer.status == 422, answer.text
        assert said in answer.text
