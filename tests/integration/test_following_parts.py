"""The commands that follow builds of several jobs, decide on their parts and retry them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator

import pytest

from tests.support.server import COMMAND, Server, wait_for

JOBS = """\
name: several
jobs:
  lint: {steps: ['true']}
  test:
    needs: lint
    matrix: {n: [1, 2]}
    steps: ['seq 100; echo "error: number ${{ matrix.n }}"; test ${{ matrix.n }} = 1']
  deploy: {needs: test, steps: ['true']}
"""
ASKS = """\
name: asks
jobs:
  deploy: {approval: true, steps: ['true']}
  last: {needs: deploy, steps: ['true']}
"""


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server(executor="process").start()


@pytest.fixture
def screen() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def on_terminal(server: Server, screen: tuple[int, int], *arguments: str, rows: int = 24) -> tuple[int, str]:
    """The exit code of a command whose output is a terminal, and all that it drew."""
    ours, theirs = screen
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
    environment = {**server._environment, "TERM": "xterm"}  # pyright: ignore[reportPrivateUsage]
    process = subprocess.Popen(
        [*COMMAND, "--url", server.url, *arguments], env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while True:
            drawn += os.read(ours, 65536)
    return process.wait(), drawn.decode().replace("\r\n", "\n")


def last_drawn(text: str) -> str:
    """The table as it was drawn last, and what follows it, without colours."""
    return re.sub(r"\x1b\[\d+m", "", text.rpartition("\x1b[?7l")[2])


def test_colours_that_a_log_leaves_on_end_with_it_on_a_terminal(
    server: Server, screen: tuple[int, int]
) -> None:
    job = server.run({"name": "red", "steps": ["printf '\\033[31mred'; exit 1"]})["job"]["id"]
    stream = server.get(f"/jobs/{job}/logs/stream").body
    assert b"\x1b[31mred" in stream and b"\x1b[0m" not in stream
    assert server.pipe("logs", str(job)) == stream
    _, drawn = on_terminal(server, screen, "logs", "-f", str(job))
    assert drawn.endswith("=== Build completed ===\n\x1b[0m")


def test_the_parts_are_shown_in_place_and_what_failed_at_the_end(
    server: Server, screen: tuple[int, int]
) -> None:
    job = server.start_job(JOBS)
    code, drawn = on_terminal(server, screen, "logs", "-f", str(job))
    table, _, rest = last_drawn(drawn).partition("\x1b[?7h")
    assert code == 0
    words = [line.split()[:2] for line in table.splitlines()]
    assert words == [["success", "lint"], ["success", "test"], ["failed", "test"], ["skipped", "deploy"]]
    assert "needs test, which did not succeed" in table
    lines = rest.splitlines()
    assert re.fullmatch(r"--- test \(n=2\), job \d+: step 1 \(bash\) exited with 1", lines[1])
    assert "83" not in lines and "100" in lines and "error: number 2" in lines
    assert "error: number 1" not in lines
    assert lines[-1] == f"build {job} failed: test (n=2): step 1 (bash) exited with 1"


def test_more_parts_than_rows_are_shown_by_their_jobs(server: Server, screen: tuple[int, int]) -> None:
    numbers = ", ".join(map(str, range(12)))
    job = server.start_job(f"name: many\njobs:\n  a: {{matrix: {{n: [{numbers}]}}, steps: ['true']}}\n")
    code, drawn = on_terminal(server, screen, "logs", "-f", str(job), rows=10)
    assert code == 0
    assert last_drawn(drawn).split("\x1b[?7h")[0].split() == ["success", "a", "12", "success"]


def test_elsewhere_the_log_is_as_it_is_and_ends_of_failed_ones_go_to_standard_error(server: Server) -> None:
    pipeline = server.pipeline(JOBS)
    done = server.command("run", str(pipeline))
    assert done.returncode == 1
    job = server.get("/jobs?limit=1").json[0]["id"]
    assert done.stdout == server.stream(job)
    assert re.search(r"--- test \(n=2\), job \d+: step 1", done.stderr)
    assert "error: number 2\n" in done.stderr and "error: number 1\n" not in done.stderr
    assert done.stderr.count("=== Build completed ===") == 1


def test_only_what_failed_is_retried(server: Server) -> None:
    first = server.run(JOBS)["job"]["id"]
    done = server.command("retry", str(first), "--only-failed")
    assert done.returncode == 0
    again = server.wait_finished(int(re.findall(r"\d+", done.stdout)[0]))
    ran = {job["part"] for job in server.get(f"/jobs?lead_id={again['job']['id']}").json}
    assert ran == {"test (n=2)"}
    assert (again["job"]["parts"], again["job"]["retry_of"]) == (4, first)


def test_parts_are_approved_and_rejected(server: Server) -> None:
    pipeline = server.pipeline(ASKS)

    def asking() -> int:
        job = server.start_build(pipeline)
        wait_for(lambda: "waits_for_approval" in server.get(f"/jobs/{job}/steps").text, "it asks")
        return job

    job = asking()
    assert server.command("approve", str(job), "last").returncode != 0
    assert server.command("approve", str(job), "deploy", "--commit", "0123456").returncode != 0
    done = server.command("approve", str(job), "deploy")
    assert done.stdout == f"deploy of job {job} is approved; 'rapidflow logs -f {job}' follows it\n"
    assert server.wait_finished(job)["job"]["status"] == "success"
    job = asking()
    assert server.command("reject", str(job), "deploy").stdout == f"deploy of job {job} is rejected\n"
    assert server.wait_finished(job)["job"]["status"] == "failed"
