"""`rapidflow run` and `logs` over connections that break, to servers that are killed: every byte once."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.server import Server, wait_for

RESET = struct.pack("ii", 1, 0)


def start(url: str, *arguments: str) -> fork_server.Command:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
    return fork_server.start(
        "--url", url, *arguments, env=kept, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


class BadLine:
    """A line to a server that cuts answers to `GET BEGINNING` after so many bytes, each once, then holds."""

    def __init__(self, port: int, cuts: list[int], beginning: str = "/jobs/") -> None:
        self._beginning = f"GET {beginning}".encode()
        self._target = ("127.0.0.1", port)
        self.cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    @staticmethod
    def _request(client: socket.socket) -> bytes:
        """A whole request; the body may come after the head."""
        request = b""
        while b"\r\n\r\n" not in request and (data := client.recv(65536)):
            request += data
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        missing = int(length[1]) - len(body) if length is not None else 0
        while missing > 0 and (data := client.recv(65536)):
            request += data
            missing -= len(data)
        return request

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            request = self._request(client)
            left = self.cuts.pop(0) if request.startswith(self._beginning) and self.cuts else None
            if left == 0:
                return
            server.sendall(request)
            while data := server.recv(65536 if left is None else min(left, 65536)):
                client.sendall(data)
                if left is not None:
                    left -= len(data)
                    if left == 0:
                        if len(self.cuts) % 2:
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                        return


@pytest.fixture
def bad_line() -> Iterator[Callable[..., BadLine]]:
    made: list[BadLine] = []

    def make(server: Server, cuts: list[int], beginning: str = "/jobs/") -> BadLine:
        made.append(BadLine(server.port, cuts, beginning))
        return made[-1]

    yield make
    for line in made:
        line.close()


@pytest.fixture
def gated(new_server: Callable[..., Server]) -> Server:
    """A server whose builds are plain processes, so that a step can wait for a file in its work folder."""
    return new_server(executor="process").start()


def waits(name: str) -> str:
    return f'until [ -e "$RAPIDFLOW_WORKSPACE/{name}" ]; do sleep 0.02; done'


def go_on(server: Server, job_id: int, name: str) -> None:
    (server.data / "work" / str(job_id) / "workspace" / name).touch()


class Reader:
    """Takes what a process prints, as it comes."""

    def __init__(self, process: fork_server.Command) -> None:
        self.process = process
        self.received = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.received += data

    def wait_for(self, text: bytes) -> None:
        wait_for(lambda: text in self.received, f"the command prints {text!r}", 60)

    def finish(self) -> tuple[int, str]:
        """Waits for the end; returns the exit code and what it said on standard error."""
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode()
        self._thread.join(60)
        code = self.process.wait(60)
        self.process.stdout and self.process.stdout.close()
        self.process.stderr.close()
        return code, said


# 170 bytes of headers, more or less: some cuts are inside them.
CUTS = [0, 1, 9, 12, 13, 14, 15, 16, 17, 30, 60, 100, 130, 150, 170, 190, 210, 250, 300]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_finished_log_comes_whole_over_a_line_that_breaks_anywhere(
    server: Server, bad_line: Callable[..., BadLine], seed: int
) -> None:
    dice = random.Random(seed)
    job_id = server.run({"name": "bad line", "steps": ["seq 30000", "printf '\\xff\\x00'", "seq 10"]})["job"][
        "id"
    ]
    whole = server.get(f"/jobs/{job_id}/logs/stream").body
    cuts = [dice.randrange(200, 60_000) for _ in range(6)]
    for extra in dice.sample(CUTS, 3):
        cuts.insert(dice.randrange(len(cuts)), extra)
    commands = [
        Reader(start(bad_line(server, list(cuts)).url, *arguments, str(job_id)))
        for arguments in (("logs",), ("logs", "-f"))
    ]
    for command in commands:
        code, said = command.finish()
        assert (code, command.received) == (0, whole), said
        assert "trying again" in said and "Traceback" not in said


def test_no_cut_inside_the_headers_ends_a_log_early_or_moves_it(
    server: Server, bad_line: Callable[..., BadLine]
) -> None:
    job_id = server.run({"name": "headers", "steps": ["seq 100"]})["job"]["id"]
    whole = server.get(f"/jobs/{job_id}/logs/stream").body
    expected = b"".join(whole.splitlines(keepends=True)[-20:])
    commands = []
    # Each of them is cut once, at one more byte than the one before.
    for cut in range(2, 700, 41):
        line = bad_line(server, [cut])
        commands.append(Reader(start(line.url, "logs", "-n", "20", str(job_id))))
    for command in commands:
        code, said = command.finish()
        assert (code, command.received) == (0, expected), said


def test_run_survives_a_line_that_breaks_while_the_build_goes_on(
    gated: Server, bad_line: Callable[..., BadLine], tmp_path: Path
) -> None:
    line = bad_line(gated, [0, 100, 250, 3000, 20, 9000, 500, 40_000])
    file = tmp_path / "build.yml"
    file.write_text(
        f"name: over a bad line\nsteps:\n  - |\n    seq 3000\n    {waits('a')}\n    seq 20000\n    exit 3\n"
    )
    command = Reader(start(line.url, "run", str(file)))
    command.wait_for(b"\n3000\n")
    go_on(gated, 1, "a")
    # Whether it succeeded is asked over the same line.
    wait_for(lambda: not line.cuts, "all cuts were made", 60)
    code, said = command.finish()
    assert (code, command.received) == (1, gated.get("/jobs/1/logs/stream").body), said
    assert "job 1 started\n" in said and "Traceback" not in said


def test_how_a_build_ended_is_asked_again_where_the_answer_breaks_off(
    server: Server, bad_line: Callable[..., BadLine], tmp_path: Path
) -> None:
    file = tmp_path / "build.yml"
    file.write_text("name: ask again\nsteps: [echo fine]\n")
    # The first answer is the stream, whole; the following ones are about the status.
    line = bad_line(server, [1_000_000, 0, 100, 400])
    command = Reader(start(line.url, "run", str(file)))
    code, said = command.finish()
    assert (code, command.received.endswith(b"=== Build completed ===\n")) == (0, True), said
    assert line.cuts == []


def test_a_build_is_followed_also_where_it_is_not_told_whether_it_waits(
    server: Server, bad_line: Callable[..., BadLine], tmp_path: Path
) -> None:
    file = tmp_path / "build.yml"
    file.write_text("name: not told\nsteps: [echo fine]\n")
    line = bad_line(server, [0], "/ready")
    code, said = (command := Reader(start(line.url, "run", str(file)))).finish()
    assert (code, command.received.endswith(b"=== Build completed ===\n")) == (0, True), said
    assert line.cuts == []


def test_run_and_logs_survive_a_server_that_is_killed_and_started_again(
    gated: Server, tmp_path: Path
) -> None:
    file = tmp_path / "build.yml"
    file.write_text(
        "name: survives\nsteps:\n"
        f"  - |\n    seq 2000\n    {waits('a')}\n    seq 2000\n    {waits('b')}\n"
        "  - echo last\n"
    )
    run = Reader(start(gated.url, "run", str(file)))
    run.wait_for(b"\n2000\n")
    logs = Reader(start(gated.url, "logs", "-f", "1"))
    logs.wait_for(b"\n2000\n")
    for gate in ("a", "b"):
        gated.kill()
        go_on(gated, 1, gate)  # the build goes on while nobody listens
        gated.start()
    whole = gated.wait_finished(1)
    assert whole["job"]["status"] == "success"
    expected = gated.get("/jobs/1/logs/stream").body
    for command in (run, logs):
        code, said = command.finish()
        assert (code, command.received) == (0, expected), said
        assert f"{gated.url} does not answer: " in said and "trying again\n" in said
