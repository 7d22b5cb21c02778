"""Whatever answers the command, it ends with a sentence."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

COMMANDS = (
    ["jobs"], ["run", "7"], ["run", "name"], ["run", "FILE"], ["cancel", "1"], ["retry", "1"],
    ["secret", "list"], ["secret", "remove", "A"], ["prune"], ["logs", "1"],
)  # fmt: skip


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


JOB = {"id": 1, "status": "x", "pipeline_id": 1, "branch": None, "commit": None, "created_at": "now",
       "started_at": None, "finished_at": None}  # fmt: skip
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "null": answer(b"null"),
    "a number": answer(b"7"),
    "no fields": answer(b"{}"),
    "a list of nothing": answer(b"[null]"),
    "a list of lists": answer(b"[[]]"),
    "wrong types": answer(
        b'{"id": {}, "message": [], "status": 7, "builds": 1, "mirrors": {}, "images": ""}'
    ),
    "a time that is none": answer(json.dumps([JOB]).encode()),
    "a time without zone": answer(json.dumps([{**JOB, "created_at": "2020-01-01"}]).encode()),
    "very deep": answer(b"[" * 200_000),
    "a very deep refusal": answer(b"[" * 200_000, "400 Bad Request"),
    "a huge number": answer(b'[{"id": 1' + b"0" * 4000 + b"}]"),
    "no number": answer(b'[{"id": NaN}]'),
    "no text": answer(b"\xff\xfe"),
    "a refusal that is none": answer(b'{"error": {"error": 1}}', "409 Conflict"),
    "a negative part": CHUNKED + b"-5\r\nhello\r\n",
    "a part of no size": CHUNKED + b"zz\r\nhello\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "nothing": b"",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789",
    "another protocol": b"SSH-2.0-x\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
}


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """The address of a server that answers everything with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.settimeout(10)
                    connection.recv(65536)
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(65536)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(15)


PROGRAM = """
import sys, os, json
from rapidflow_web.cli import client
from rapidflow_web.cli.main import main
client._GIVE_UP_SECONDS = 0.0  # a log that breaks off is asked for again for ten minutes
for arguments in json.loads(sys.argv[1]):
    print("$", *arguments, file=sys.stderr, flush=True)
    try:
        main(arguments)
    except SystemExit as end:
        print("=", end.code, file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("said", ANSWERS)
def test_each_command_ends_with_a_sentence(said: str, tmp_path: Path) -> None:
    file = tmp_path / "build.yml"
    file.write_text("name: some\nsteps: ['true']\n")
    with answering(ANSWERS[said]) as url:
        commands = [[str(file) if word == "FILE" else word for word in command] for command in COMMANDS]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(commands)],
            env={**os.environ, "RAPIDFLOW_URL": url},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    blocks = done.stderr.split("$ ")[1:]
    assert len(blocks) == len(COMMANDS)
    for block in blocks:
        _, *sentences, code = block.splitlines()
        assert code in ("= 1", "= 2"), block
        assert sentences and sentences[-1].startswith("rapidflow: "), block


EVENT = {
    "id": 1, "url": "u", "forge": "git", "default_branch": "main", "hook_url": "h", "connected": False,
    "poll": "5m", "pipelines": [], "problems": [], "poll_error": None,
    "kind": "push", "ref": None, "after": None, "source": "poll", "sender": None, "title": None,
    "at": "2026-01-01T00:00:00Z", "decisions": [],
}  # fmt: skip
"""It is a repository, too."""


@pytest.mark.parametrize("wrong", [{"kind": 7, "ref": 7}, {"after": 7}, {"decisions": None}])
def test_events_that_are_none_are_no_answer(wrong: dict[str, object]) -> None:
    with answering(answer(json.dumps([{**EVENT, **wrong}]).encode())) as url:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps([["events", "1"]])],
            env={**os.environ, "RAPIDFLOW_URL": url}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.stderr == f"$ events 1\nrapidflow: what answers at {url} is not RapidFlow\n= 2\n"


def test_an_answer_without_end_is_no_answer() -> None:
    program = "from rapidflow_web.cli import client; client._LONGEST_ANSWER = 100_000\n" + PROGRAM
    body = b'{"id": 1, "x": "' + b"x" * 200_000 + b'"}'
    with answering(answer(body)) as url:
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps([["retry", "1"]])],
            env={**os.environ, "RAPIDFLOW_URL": url}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.stderr == f"$ retry 1\nrapidflow: what answers at {url} is not RapidFlow\n= 2\n"


@pytest.mark.parametrize("token", ["rf\n1", "rf\r\nHost: evil", "töken"])
def test_a_token_that_is_none_is_said(token: str) -> None:
    with answering(answer(b"[]")) as url:
        done = subprocess.run(
            [sys.executable, "-m", "rapidflow_web", "jobs"],
            env={**os.environ, "RAPIDFLOW_URL": url, "RAPIDFLOW_TOKEN": token},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "rapidflow: RAPIDFLOW_TOKEN is not a token; set it to one that a server made\n"
