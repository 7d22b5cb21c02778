"""The output of steps in JSON: complete, while they run, whatever its bytes, however long it is."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.logs.log import CHUNK
from tests.support.gates import let_go, waiting
from tests.support.repos import Repo
from tests.support.server import Server

MEGABYTE = 1024 * 1024
LINE = "all work and no play"


def test_the_output_of_a_step_that_runs_is_what_it_has_printed_so_far(server: Server) -> None:
    job_id = server.start_job(
        {"name": "so far", "steps": ["echo done", f"printf 'so far'; {waiting('a')}; echo .", "true"]}
    )
    server.wait_output(job_id, "so far")
    details = server.details(job_id)
    steps = details["steps"]
    expected = [("success", "done\n"), ("running", "so far"), ("pending", "")]
    assert details["job"]["status"] == "running"
    assert [(step["status"], step["output"]) for step in steps] == expected
    assert [step["exit_code"] for step in steps] == [0, None, None]
    assert steps[1]["started_at"] is not None and steps[1]["finished_at"] is None
    logs = server.get(f"/jobs/{job_id}/logs").json
    assert logs["status"] == "running"
    assert [(entry["status"], entry["output"]) for entry in logs["logs"]] == expected
    assert server.get(f"/steps/{steps[1]['id']}/logs").json["output"] == "so far"
    assert server.get(f"/steps/{steps[1]['id']}").json["output"] == "so far"
    let_go(server, job_id, "a")
    assert server.wait_finished(job_id)["steps"][1]["output"] == "so far.\n"


def test_any_bytes_become_text_and_what_is_not_utf_8_becomes_replacement_characters(
    server: Server, repo: Repo
) -> None:
    files = {
        # A character of three bytes lies across every border between two reads.
        "characters": b"a" + "€".encode() * (CHUNK // 2),
        # So does one that is broken off there.
        "broken": b"x" * (CHUNK - 1) + b"\xe2A" + b"y" * (CHUNK - 2) + b"\xf0\x9f\x98",
        "end": b"cut off: \xe2\x82",
        "controls": bytes(range(32)) + b'"\\\x7f\xff\xfe' + "\u2028\ufeff\U0001f600".encode() + b"\r\n",
    }
    repo.commit(dict(files))
    details = server.run({"name": "bytes", "repo_name": repo.url, "steps": [f"cat {name}" for name in files]})
    expected = [data.decode("utf-8", "replace") for data in files.values()]
    assert [step["output"] for step in details["steps"]] == expected
    for step, text in zip(details["steps"], expected, strict=True):
        assert server.get(f"/steps/{step['id']}/logs").json["output"] == text
    # The stream has the bytes themselves.
    stream = server.get(f"/jobs/{details['job']['id']}/logs/stream").body
    assert all(data in stream for data in files.values())


def _memory(server: Server, what: str) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def long_job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """A server of its own, and the id of a finished job there whose first step of two printed 64 MB."""
    server = Server(tmp_path_factory.mktemp("long") / "data", executor="process").start()
    script = {"type": "sh", "content": f"yes '{LINE}' | head -c {64 * MEGABYTE}"}
    job_id = server.start_job({"name": "long", "steps": [script, "echo end"]})
    ends = server.get(f"/jobs/{job_id}/logs/stream?follow=true&since={10**9}")
    assert ends.text == "=== Build completed ===\n"
    yield server, job_id
    server.stop()


def test_a_long_log_is_sent_as_json_in_flat_memory(long_job: tuple[Server, int]) -> None:
    server, job_id = long_job
    step_id = 1  # the first one of this server
    before = _memory(server, "VmRSS")
    output = (f"{LINE}\n" * (64 * MEGABYTE // len(LINE)))[: 64 * MEGABYTE]
    places: dict[str, Callable[[Any], str]] = {
        f"/jobs/{job_id}/details": lambda answer: answer["steps"][0]["output"],
        f"/jobs/{job_id}/logs": lambda answer: answer["logs"][0]["output"],
        f"/jobs/{job_id}/steps": lambda answer: answer[0]["output"],
        f"/steps/{step_id}": lambda answer: answer["output"],
        f"/steps/{step_id}/logs": lambda answer: answer["output"],
    }
    for path, place in places.items():
        answer = json.loads(server.get(path).body)
        assert hashlib.sha256(place(answer).encode()).digest() == hashlib.sha256(output.encode()).digest()
        del answer
    assert _memory(server, "VmHWM") < 150 * MEGABYTE
    assert _memory(server, "VmHWM") - before < 32 * MEGABYTE


def test_a_client_that_does_not_read_or_goes_away_costs_no_memory_and_holds_nobody_up(
    long_job: tuple[Server, int],
) -> None:
    server, job_id = long_job
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(8)]
    for connection in connections:
        connection.request("GET", f"/jobs/{job_id}/logs")
        assert connection.getresponse().status == 200
    assert server.get("/health").status == 200
    assert len(server.get(f"/jobs/{job_id}/logs/stream?tail=2").body) == len("\n=== Build completed ===\n")
    assert _memory(server, "VmHWM") < 150 * MEGABYTE
    for connection in connections:
        connection.close()
    assert server.get("/health").status == 200
    assert "Traceback" not in server.log.read_text()
