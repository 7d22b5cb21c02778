"""The `rapidflow` command as people run it, against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import fork_server
from tests.support.repos import Repo
from tests.support.server import COMMAND, Server

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(url: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
    return {**kept, "RAPIDFLOW_URL": url}


@pytest.fixture
def server(process_server: Server) -> Server:
    """Where builds run makes no difference to the command."""
    return process_server


@pytest.fixture
def rapidflow(server: Server) -> Command:
    """Runs the command to its end; its server is the shared one."""

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = fork_server.run(*arguments, input=stdin, env=environment(server.url), timeout=60)
        result = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    return run


@pytest.fixture
def background(server: Server) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command, which the test ends."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment(server.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def write(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., tuple[Path, str]]:
    """Writes a pipeline file; returns it and the name of the pipeline, which nothing else has."""
    name = f"cli {request.node.name}"

    def write(*steps: str, **keys: Any) -> tuple[Path, str]:
        file = tmp_path / "build.yml"
        file.write_text(json.dumps({"name": name, "steps": list(steps), **keys}))
        return file, name

    return write


def named(server: Server, name: str) -> list[dict[str, Any]]:
    return [pipeline for pipeline in server.get("/pipelines?limit=200").json if pipeline["name"] == name]


def job_of(stderr: str) -> int:
    found = re.search(r"^job (\d+) started$", stderr, re.MULTILINE)
    assert found is not None, stderr
    return int(found[1])


def test_run_stores_a_file_starts_it_and_prints_its_stream(
    server: Server, rapidflow: Command, write: Any
) -> None:
    file, name = write("echo out; echo err >&2", "printf end")
    done = rapidflow("run", str(file))
    assert done.returncode == 0
    assert done.stdout == (
        "=== Step 1 (bash) ===\nout\nerr\n\n=== Step 2 (bash) ===\nend\n\n=== Build completed ===\n"
    )
    (pipeline,) = named(server, name)
    assert pipeline["config"] == file.read_text()
    job_id = job_of(done.stderr)
    assert done.stderr == f"pipeline {pipeline['id']} '{name}' stored from {file}\njob {job_id} started\n"
    job = server.job(job_id)
    assert (job["status"], job["started_by"]) == ("success", "cli")


def test_run_exits_with_1_when_the_build_fails(rapidflow: Command, write: Any) -> None:
    file, _ = write("exit 7")
    done = rapidflow("run", str(file))
    assert done.returncode == 1
    assert done.stdout.endswith(
        "=== Build failed: step 1 (bash) exited with 7 ===\n=== Build completed ===\n"
    )


def test_run_exits_with_1_when_the_build_is_cancelled(server: Server, background: Any, write: Any) -> None:
    file, name = write("echo up; exec sleep 1000")
    process = background("run", str(file))
    assert process.stdout.readline() == "=== Step 1 (bash) ===\n"
    assert process.stdout.readline() == "up\n"
    (pipeline,) = named(server, name)
    (job,) = server.get(f"/pipelines/{pipeline['id']}/jobs").json
    assert server.post(f"/jobs/{job['id']}/cancel").status == 200
    rest, _ = process.communicate(timeout=60)
    assert rest.endswith("=== Build cancelled ===\n=== Build completed ===\n")
    assert process.returncode == 1


def test_run_brings_the_stored_pipeline_up_to_date_with_its_file(
    server: Server, rapidflow: Command, write: Any
) -> None:
    file, name = write("echo before")
    rapidflow("run", str(file))
    (before,) = named(server, name)
    again = rapidflow("run", str(file))
    assert "stored" not in again.stderr and "updated" not in again.stderr
    write("echo after")
    done = rapidflow("run", str(file))
    assert "after\n" in done.stdout
    assert f"pipeline {before['id']} '{name}' updated from {file}\n" in done.stderr
    (after,) = named(server, name)
    assert (after["id"], after["config"]) == (before["id"], file.read_text())


def test_run_of_a_file_never_changes_one_of_several_pipelines_of_its_name(
    server: Server, rapidflow: Command, write: Any
) -> None:
    file, name = write("echo mine")
    others = [server.pipeline({"name": name, "steps": [f"echo other {number}"]}) for number in (1, 2)]
    before = named(server, name)
    done = rapidflow("run", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"rapidflow: there are several pipelines '{name}', none of them as in {file}: "
    )
    assert all(str(other) in done.stderr for other in others)
    assert named(server, name) == before
    # The one that is as in the file is the one that is meant.
    mine = server.pipeline(file.read_text())
    server.pipeline({"name": name, "steps": ["echo newest"]})
    done = rapidflow("run", str(file))
    assert (done.returncode, "mine\n" in done.stdout) == (0, True)
    assert server.job(job_of(done.stderr))["pipeline_id"] == mine


def test_run_takes_the_id_or_the_name_of_a_pipeline(server: Server, rapidflow: Command) -> None:
    pipeline_id = server.pipeline({"name": "named for cli & co", "steps": ["echo by name"]})
    for named_by in (str(pipeline_id), "named for cli & co"):
        done = rapidflow("run", named_by)
        assert (done.returncode, "by name\n" in done.stdout) == (0, True)
        assert server.job(job_of(done.stderr))["pipeline_id"] == pipeline_id
    second = server.pipeline({"name": "named for cli & co", "steps": ["true"]})
    done = rapidflow("run", "named for cli & co")
    assert done.returncode == 2
    assert done.stderr == (
        "rapidflow: there are several pipelines 'named for cli & co'; "
        f"name one by its id: {second}, {pipeline_id}\n"
    )


@pytest.mark.parametrize(
    ("named_by", "words"),
    [
        ("no such pipeline", "there is no pipeline and no file 'no such pipeline'"),
        ("nowhere/build.yml", "there is no file nowhere/build.yml"),
        ("build.yaml", "there is no file build.yaml"),
        ("999999999", "there is no pipeline 999999999"),
        ("0", "there is no pipeline '0'; the id of a pipeline is a number like 12"),
        ("²", "there is no pipeline and no file '²'"),
    ],
)
def test_run_says_what_it_does_not_find(rapidflow: Command, named_by: str, words: str) -> None:
    done = rapidflow("run", named_by)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"rapidflow: {words}\n")


def test_run_gives_the_build_a_branch_and_variables(
    server: Server, rapidflow: Command, write: Any, repo: Repo
) -> None:
    repo.commit({"which": "main\n"})
    repo.git("checkout", "--quiet", "-b", "topic")
    repo.commit({"which": "topic\n"})
    file, _ = write("cat which", 'echo "$A|$B|$C"', repo_name=repo.url, branch="main", env={"A": "pipeline"})
    done = rapidflow("run", str(file), "--branch", "topic", "--env", "B=with = and space", "--env", "C=")
    assert (done.returncode, "\ntopic\n" in done.stdout) == (0, True)
    assert "\npipeline|with = and space|\n" in done.stdout
    assert server.job(job_of(done.stderr))["branch"] == "topic"


@pytest.mark.parametrize("given", ["novalue", "=x", ""])
def test_run_refuses_a_variable_that_is_none_before_it_stores_anything(
    server: Server, rapidflow: Command, write: Any, given: str
) -> None:
    file, name = write("true")
    done = rapidflow("run", str(file), "--env", given)
    assert (done.returncode, done.stderr) == (2, f"rapidflow: --env {given!r} is not KEY=VALUE\n")
    twice = rapidflow("run", str(file), "--env", "A=1", "--env", "B=1", "--env", "A=2")
    assert (twice.returncode, twice.stderr) == (2, "rapidflow: --env A=… is there twice; leave one out\n")
    assert named(server, name) == []


def test_run_says_what_is_wrong_with_the_file_or_the_build(rapidflow: Command, write: Any) -> None:
    file, _ = write()
    done = rapidflow("run", str(file))
    assert done.returncode == 2
    assert done.stderr.startswith(f"rapidflow: {file}: line 1, column ")
    file.write_bytes(b"\xff\xfe")
    assert rapidflow("run", str(file)).stderr == f"rapidflow: {file}: this is not a text file in UTF-8\n"
    file, _ = write("true")
    for option, value, words in (
        ("--branch", "a..b", "'a..b' is not the name of a branch"),
        ("--branch", "", "'' is not the name of a branch"),
        ("--env", "1A=x", "'1A' is not a variable name"),
    ):
        done = rapidflow("run", str(file), option, value)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr


def test_ctrl_c_leaves_the_build_running_and_says_how_to_go_on(
    server: Server, background: Any, write: Any
) -> None:
    file, _ = write("echo up; exec sleep 1000")
    process = background("run", str(file))
    for line in ("=== Step 1 (bash) ===\n", "up\n"):
        assert process.stdout.readline() == line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    job_id = job_of(err)
    assert (process.returncode, out) == (130, "")
    assert err.endswith(
        f"\njob {job_id} goes on; 'rapidflow logs -f {job_id}' follows it, "
        f"'rapidflow cancel {job_id}' stops it\n"
    )
    assert server.job(job_id)["status"] == "running"
    server.post(f"/jobs/{job_id}/cancel")


def test_logs_prints_the_log_of_a_job_or_its_last_lines(server: Server, rapidflow: Command) -> None:
    job_id = str(server.run({"name": "cli logs", "steps": ["seq 5; printf '\\xff'"]})["job"]["id"])
    whole = server.get(f"/jobs/{job_id}/logs/stream").body
    done = subprocess.run([*COMMAND, "logs", job_id], env=environment(server.url), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, whole, b"")
    assert rapidflow("logs", "-n", "1", job_id).stdout == "=== Build completed ===\n"
    assert rapidflow("logs", job_id, "--tail", "0").stdout == ""
    assert rapidflow("logs", "-f", "-n", "1", job_id).stdout == "=== Build completed ===\n"


def test_logs_prints_what_is_there_now_and_with_follow_goes_on(server: Server, background: Any) -> None:
    job_id = server.start_job({"name": "cli follow", "steps": ["echo up; exec sleep 1000"]})
    server.wait_output(job_id, "up\n")
    now = background("logs", str(job_id))
    assert now.communicate(timeout=60) == ("=== Step 1 (bash) ===\nup\n", "")
    following = background("logs", "-f", str(job_id))
    assert following.stdout.readline() == "=== Step 1 (bash) ===\n"
    assert following.stdout.readline() == "up\n"
    assert following.poll() is None
    server.post(f"/jobs/{job_id}/cancel")
    out, err = following.communicate(timeout=60)
    assert (following.returncode, err) == (0, "")
    assert out.endswith("=== Build cancelled ===\n=== Build completed ===\n")


def test_ctrl_c_in_logs_is_no_error(server: Server, background: Any) -> None:
    job_id = server.start_job({"name": "cli ctrl-c", "steps": ["echo up; exec sleep 1000"]})
    process = background("logs", "-f", str(job_id))
    assert process.stdout.readline() == "=== Step 1 (bash) ===\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    server.post(f"/jobs/{job_id}/cancel")


def test_jobs_lists_jobs_newest_first(server: Server, rapidflow: Command, repo: Repo) -> None:
    commit = repo.commit({"a": "a"})
    pipeline_id = server.pipeline(
        {"name": "cli jobs", "repo_name": repo.url, "branch": "main", "steps": ['exit "$CODE"']}
    )
    ids = [
        server.wait_finished(server.start_build(pipeline_id, environments={"CODE": code}))["job"]["id"]
        for code in ("0", "1")
    ]
    done = rapidflow("jobs", "--pipeline", str(pipeline_id))
    head, *rows = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert head.split() == ["JOB", "STATUS", "PIPELINE", "BRANCH", "COMMIT", "CREATED", "DURATION"]
    assert [row.split()[:7] for row in rows] == [
        [str(job_id), status, str(pipeline_id), "cli", "jobs", "main", commit[:12]]
        for job_id, status in zip(ids[::-1], ("failed", "success"), strict=True)
    ]
    assert all(re.fullmatch(r"\d+s|\d+m\d\ds", row.split()[-1]) for row in rows)
    failed = rapidflow("jobs", "--pipeline", str(pipeline_id), "--status", "failed").stdout.splitlines()
    assert failed[1:] == rows[:1]
    assert rapidflow("jobs", "--pipeline", str(pipeline_id), "-n", "1").stdout.splitlines()[1:] == rows[:1]
    assert rapidflow("jobs", "--pipeline", "cli jobs").stdout == done.stdout
    unknown = rapidflow("jobs", "--pipeline", "no such")
    assert (unknown.returncode, unknown.stderr) == (2, "rapidflow: there is no pipeline 'no such'\n")


def test_cancel_returns_when_the_build_is_stopped(server: Server, rapidflow: Command) -> None:
    job_id = server.start_job({"name": "cli cancel", "steps": ["echo up; exec sleep 1000"]})
    server.wait_output(job_id, "up\n")
    done = rapidflow("cancel", str(job_id))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"job {job_id} cancelled\n", "")
    assert server.job(job_id)["status"] == "cancelled"
    done = rapidflow("cancel", str(job_id))
    assert (done.returncode, done.stderr) == (2, f"rapidflow: job {job_id} has already finished: cancelled\n")


def test_retry_starts_a_job_again_and_can_follow_it(server: Server, rapidflow: Command) -> None:
    for code, expected in (("0", 0), ("1", 1)):
        old = server.run({"name": "cli retry", "steps": [f"echo again; exit {code}"]})["job"]["id"]
        done = rapidflow("retry", str(old))
        started = int(done.stdout.removeprefix("job ").removesuffix(" started\n"))
        assert (done.returncode, done.stderr) == (0, "")
        assert server.wait_finished(started)["job"]["retry_of"] == old
        done = rapidflow("retry", "-f", str(old))
        assert done.returncode == expected
        assert done.stdout == server.stream(job_of(done.stderr))


@pytest.mark.parametrize("command", ["logs", "cancel", "retry"])
@pytest.mark.parametrize("job", ["999999999", "abc", "0", "1 2", "../pipelines/1", "ü"])
def test_a_job_that_is_not_there_is_missed(rapidflow: Command, command: str, job: str) -> None:
    done = rapidflow(command, job)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rapidflow: there is no") or "nothing at this address" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_the_server_refuses_is_said_in_its_words(rapidflow: Command) -> None:
    assert rapidflow("jobs", "--status", "done").stderr.startswith("rapidflow: status=done: input should be ")
    assert (
        rapidflow("jobs", "-n", "0").stderr
        == "rapidflow: limit=0: input should be greater than or equal to 1\n"
    )
    assert rapidflow("logs", "-n", "-1", "1").stderr == "rapidflow: tail=-1: use a whole number from 0\n"


def test_a_reader_that_has_enough_ends_the_command_quietly(server: Server) -> None:
    job_id = server.run({"name": "cli pipe", "steps": ["seq 200000"]})["job"]["id"]
    for arguments, first in (
        ("jobs", "JOB"),
        (f"logs {job_id}", "=== Step 1 (bash) ==="),
        (f"logs -f {job_id}", "==="),
    ):
        script = f"{{ {sys.executable} -m rapidflow_web {arguments}; echo $? >&2; }} | head -1"
        done = subprocess.run(
            ["bash", "-c", script], env=environment(server.url), capture_output=True, text=True, timeout=60
        )
        assert done.stdout.lstrip().startswith(first)
        assert done.stderr in ("141\n", "0\n")  # all of a short list may have been written before head ended
    assert done.stderr == "141\n"


def test_a_full_disk_is_an_error(server: Server) -> None:
    script = f"{sys.executable} -m rapidflow_web jobs >/dev/full"
    done = subprocess.run(
        ["bash", "-c", script], env=environment(server.url), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("rapidflow: ") and "No space left on device" in done.stderr
