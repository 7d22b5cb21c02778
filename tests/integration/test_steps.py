"""Steps in real containers: what they share, how they end, what they print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import images
from tests.support.builds import engine
from tests.support.server import Server, containers_of, wait_for


def run(server: Server, *steps: str | dict[str, Any], **pipeline: Any) -> dict[str, Any]:
    return server.run({"name": "steps", "steps": list(steps), **pipeline})


def states(details: dict[str, Any]) -> list[tuple[str, int | None]]:
    return [(step["status"], step["exit_code"]) for step in details["steps"]]


def test_what_a_step_leaves_in_the_container_is_there_for_the_next(server: Server) -> None:
    details = run(server, "echo kept >/opt-file; mkdir -p sub", "cat /opt-file; cd sub; pwd", "pwd")
    assert details["job"]["status"] == "success"
    assert [step["output"] for step in details["steps"]] == ["", "kept\n/workspace/sub\n", "/workspace\n"]
    assert states(details) == [("success", 0)] * 3


def test_a_build_stops_at_the_first_step_that_fails_and_the_rest_stays_pending(server: Server) -> None:
    details = run(server, "echo fine", "echo broken; exit 3", "echo never", "echo never")
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "step 2 (bash) exited with 3"
    assert states(details) == [("success", 0), ("failed", 3), ("pending", None), ("pending", None)]
    assert [step["started_at"] is None for step in details["steps"]] == [False, False, True, True]
    assert server.stream(details["job"]["id"]) == (
        "=== Step 1 (bash) ===\nfine\n\n=== Step 2 (bash) ===\nbroken\n\n"
        "=== Build failed: step 2 (bash) exited with 3 ===\n=== Build completed ===\n"
    )


def test_a_successful_build_has_no_error_and_a_container_that_is_gone(server: Server) -> None:
    details = run(server, "true")
    job = details["job"]
    assert (job["status"], job["error"], job["ports"]) == ("success", None, None)
    assert len(job["container_id"]) == 64
    wait_for(lambda: job["container_id"] not in containers_of(server), "the container is gone")


@pytest.mark.parametrize(
    ("step", "code"),
    [("kill -9 $$", 137), ("kill -TERM $$", 143), ("false | true", 1), ("no-such-command", 127), ("if", 2)],
)
def test_a_step_that_ends_badly_fails_with_its_exit_code(server: Server, step: str, code: int) -> None:
    details = run(server, step)
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == f"step 1 (bash) exited with {code}"
    assert states(details) == [("failed", code)]


@pytest.mark.parametrize("image", [images.BASH, images.DEBIAN])
def test_a_daemon_that_a_step_stops_is_gone_while_the_step_runs(server: Server, image: str) -> None:
    daemon = "(sleep 1000 & echo $! >pid); kill $(cat pid)"
    gone = "until ! kill -0 $(cat pid) 2>/dev/null; do sleep 0.05; done; echo gone; exit 7"
    details = run(server, f"{daemon}; {gone}", image=images.ensure(image), timeout="20s")
    assert details["steps"][0]["output"] == "gone\n", details["job"]["error"]
    assert states(details) == [("failed", 7)]


def test_a_sh_step_and_files_and_variables_work_as_written(server: Server) -> None:
    details = run(
        server,
        {
            "type": "sh",
            "content": "cat conf/a.json; echo $GREETING $CI",
            "files": {"conf/a.json": '{"a": 1}\n'},
        },
        env={"GREETING": 'it\'s a "good" $day'},
    )
    assert details["steps"][0]["output"] == '{"a": 1}\nit\'s a "good" $day true\n'


def test_binary_output_is_streamed_as_it_is(server: Server) -> None:
    details = run(server, r"printf '\000\377\376\036\r\n'; printf 'no newline'")
    answer = server.get(f"/jobs/{details['job']['id']}/logs/stream")
    assert answer.body == (
        b"=== Step 1 (bash) ===\n\0\xff\xfe\x1e\r\nno newline\n\n=== Build completed ===\n"
    )
    assert details["steps"][0]["output"] == "\0\ufffd\ufffd\x1e\r\nno newline"


def test_a_line_of_ten_megabytes_is_whole(server: Server) -> None:
    details = run(server, "head -c 10000000 /dev/zero | tr '\\000' x")
    answer = server.get(f"/jobs/{details['job']['id']}/logs/stream")
    assert answer.body == (b"=== Step 1 (bash) ===\n" + b"x" * 10_000_000 + b"\n\n=== Build completed ===\n")


def test_megabytes_of_lines_are_whole_and_in_order(server: Server) -> None:
    job_id = server.start_job(
        {"name": "much", "image": images.ensure(images.BUSYBOX), "steps": ["seq 1000000"]}
    )
    followed = server.follow(job_id).wait()
    lines = b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    assert followed == b"=== Step 1 (bash) ===\n" + lines + b"\n=== Build completed ===\n"
    assert server.get(f"/jobs/{job_id}/logs/stream").body == followed


def test_the_header_of_a_silent_step_is_there_while_it_runs(server: Server) -> None:
    job_id = server.start_job({"name": "silent", "steps": ["sleep 1000"]})
    server.wait_output(job_id, "=== Step 1 (bash) ===\n")
    assert server.stream(job_id) == "=== Step 1 (bash) ===\n"
    assert server.details(job_id)["steps"][0]["status"] == "running"
    assert server.post(f"/jobs/{job_id}/cancel").status == 200


def test_processes_left_in_the_background_hold_neither_step_nor_build(server: Server) -> None:
    details = run(
        server, "sleep 1000 & (setsid sleep 1000 &) ; while :; do sleep 0.01; done & echo one", "echo two"
    )
    assert details["job"]["status"] == "success"
    assert [step["output"] for step in details["steps"]] == ["one\n", "two\n"]


def test_what_a_background_process_prints_between_two_steps_belongs_to_the_next(server: Server) -> None:
    details = run(server, "(sleep 0.4; echo late) & echo one", "sleep 0.6; echo two")
    assert [step["output"] for step in details["steps"]] == ["one\n", "late\ntwo\n"]


def test_an_agent_whose_output_is_cut_off_fails_its_step_and_says_so(server: Server) -> None:
    details = run(server, "echo before; sleep 0.5; kill -9 $(pidof tee); sleep 0.1; echo lost", "true")
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "the container ended during step 1 (bash) (exit code 141)"
    assert states(details) == [("failed", None), ("pending", None)]
    assert details["steps"][0]["output"] == "before\n"


def test_a_container_that_is_killed_from_outside_fails_the_build(server: Server) -> None:
    job_id = server.start_job({"name": "killed", "steps": ["echo ready; sleep 1000", "true"]})
    server.wait_output(job_id, "ready\n")
    engine("kill", server.job(job_id)["container_id"])
    details = server.wait_finished(job_id)
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "the container ended during step 1 (bash) (exit code 137)"
    assert states(details) == [("failed", None), ("pending", None)]


def test_a_container_that_is_stopped_from_outside_fails_the_build_and_its_clean_up_is_in_the_log(
    server: Server,
) -> None:
    step = "trap 'echo cleaning; exit 0' TERM; echo ready; while :; do sleep 0.05; done 2>/dev/null"
    job_id = server.start_job({"name": "stopped", "steps": [step, "true"]})
    server.wait_output(job_id, "ready\n")
    engine("stop", server.job(job_id)["container_id"])
    details = server.wait_finished(job_id)
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "the engine stopped the build in step 1 (bash)"
    assert details["steps"][0]["output"] == "ready\ncleaning\n"
    assert details["steps"][1]["status"] == "pending"


def test_a_container_that_is_removed_from_outside_fails_the_build(server: Server) -> None:
    job_id = server.start_job({"name": "removed", "steps": ["echo ready; sleep 1000"]})
    server.wait_output(job_id, "ready\n")
    engine("rm", "--force", server.job(job_id)["container_id"])
    details = server.wait_finished(job_id)
    assert details["job"]["status"] == "failed"
    # It is killed first, which may be seen or not.
    assert details["job"]["error"].startswith("the container ")


def test_a_step_that_runs_out_of_memory_says_so(server: Server) -> None:
    step = "echo ready; until [ -e go ]; do sleep 0.05; done; head -c 300000000 /dev/zero | tail -n 1 | wc -c"
    job_id = server.start_job({"name": "memory", "steps": [step]})
    server.wait_output(job_id, "ready\n")
    container_id = server.job(job_id)["container_id"]
    engine("update", "--memory", "32m", "--memory-swap", "32m", container_id)
    engine("exec", container_id, "touch", "/workspace/go")
    details = server.wait_finished(job_id)
    assert details["job"]["error"] == "step 1 (bash) ran out of memory (limit 8g)"


@pytest.mark.parametrize("image", [None, images.BUSYBOX])
def test_the_example_of_a_new_installation_builds_in_any_image(server: Server, image: str | None):
    example = Path(__file__).parents[2] / "examples" / "pipelines" / "first.yml"
    definition = yaml.safe_load(example.read_text()) | ({"image": image} if image else {})
    details = server.wait_finished(server.start_build(server.pipeline(definition)))
    assert details["job"]["status"] == "success", details
    assert details["steps"][2]["output"] == "3 words: desserts repaid reward\n"
