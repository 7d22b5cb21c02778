"""A real server in a process of its own, and what tests do with it over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from tests.support import engine_api, fork_server
from tests.support.stalls import Stalls

COMMAND = (sys.executable, "-m", "rapidflow_web")
FINISHED = ("success", "failed", "cancelled")


@dataclass(frozen=True)
class Answer:
    """A response, its body read to the end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Server:
    """`rapidflow serve` with its data in `data`. Can be killed and started again on the same port."""

    started: ClassVar[list[Server]] = []
    """Those that `no_stalls` in `conftest.py` looks at."""
    forks: ClassVar[bool] = False
    """Whether servers and commands are forked from a process that has imported them, or executed."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.parent / f"{data.name}.server.log"
        self.stalls = Stalls(self.log)
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")},
            "RAPIDFLOW_BIND": f"127.0.0.1:{self.port}",
            "RAPIDFLOW_DATA": str(data),
            **{f"RAPIDFLOW_{key.upper()}": value for key, value in settings.items()},
        }
        self.headers: Mapping[str, str] = {}
        """Those of each request, such as a token."""
        self.program: tuple[str | Path, ...] | None = None
        """What is executed instead of the server, if anything."""
        self.process: subprocess.Popen[bytes] | fork_server.Command | None = None

    def set(self, **settings: str) -> None:
        """Sets settings for the next start."""
        self._environment |= {f"RAPIDFLOW_{key.upper()}": value for key, value in settings.items()}

    def set_path(self, path: str) -> None:
        """Sets where the next start finds programs."""
        self._environment["PATH"] = path

    def sql(self, statement: str, *values: Any) -> None:
        """Changes the database, when the server does not run."""
        with closing(sqlite3.connect(self.data / "rapidflow.db")) as database, database:
            database.execute(statement, values)

    def command(
        self, *arguments: str, input: str = "", stdout: IO[bytes] | None = None, more: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """Runs the `rapidflow` command with the settings of this server, and `more` in its environment."""
        arguments = ("--url", self.url, *arguments)
        done = self._run(*arguments, input=input.encode(), stdout=stdout, env={**self._environment, **more})
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def pipe(self, *arguments: str, given: bytes = b"") -> bytes:
        """What the command writes to its standard output, and it must succeed."""
        done = self._run(*arguments, input=given, env=self._environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        if Server.forks:
            return fork_server.run(*arguments, **options)
        options = {**options, "stdout": options.get("stdout") or subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run([*COMMAND, *arguments], timeout=120, **options)

    def start(self, *arguments: str, wait: bool = True) -> Server:
        """Starts it with `arguments`, and unless told otherwise waits until it answers."""
        if self not in Server.started:
            Server.started.append(self)
        with self.log.open("ab") as log:
            options: dict[str, Any] = {"env": self._environment, "stdout": log, "stderr": log}
            if self.program is None and Server.forks:
                self.process = fork_server.start("serve", *arguments, **options)
            else:
                program = self.program or COMMAND
                self.process = subprocess.Popen([*program, "serve", *arguments], **options)
        if wait:
            self.wait_until_it_answers()
        return self

    def wait_until_it_answers(self) -> None:
        wait_for(self.answers, "the server answers", seconds=60)

    def answers(self) -> bool:
        """Whether it answers. Fails where it has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.log.read_text()}")
        try:
            return self.get("/health").status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """SIGTERM; returns the seconds that it took to end."""
        assert self.process is not None
        begin = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)
        return time.monotonic() - begin

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Answer:
        """One request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def request_and_leave(self, method: str, path: str) -> None:
        """Sends a request and does not wait for the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path)
        connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, value: Any = None, timeout: float = 60) -> Answer:
        """A POST with a JSON body, or with none."""
        if value is None:
            return self.request("POST", path, timeout=timeout)
        return self.request(
            "POST", path, json.dumps(value), {"Content-Type": "application/json"}, timeout=timeout
        )

    @property
    def memory(self) -> int:
        """The bytes of memory that it takes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    # Builds

    def pipeline(self, config: str | dict[str, Any]) -> int:
        """Stores a pipeline; a dict is its YAML as JSON. Returns the id."""
        text = config if isinstance(config, str) else json.dumps(config)
        answer = self.request("POST", "/pipelines", text, {"Content-Type": "application/yaml"})
        assert answer.status == 201, answer.text
        return answer.json["id"]

    def start_job(self, config: str | dict[str, Any], **body: Any) -> int:
        """Stores a pipeline and starts a build of it; returns the id of the job."""
        return self.start_build(self.pipeline(config), **body)

    def start_build(self, pipeline_id: int, **body: Any) -> int:
        """Starts a build of a pipeline; returns the id of the job."""
        answer = self.post(f"/pipelines/{pipeline_id}/jobs", body or None)
        assert answer.status == 201, answer.text
        return answer.json["id"]

    def job(self, job_id: int) -> dict[str, Any]:
        return self.get(f"/jobs/{job_id}").json

    def details(self, job_id: int) -> dict[str, Any]:
        return self.get(f"/jobs/{job_id}/details").json

    def stream(self, job_id: int, query: str = "") -> str:
        """What the stream has now."""
        return self.get(f"/jobs/{job_id}/logs/stream?{query}").text

    def wait_finished(self, job_id: int, seconds: float = 60) -> dict[str, Any]:
        """Waits for the end of a job; returns its details."""
        begin = time.monotonic()
        self._follow_to_the_end(job_id, begin + seconds)
        left = max(1.0, begin + seconds - time.monotonic())
        wait_for(lambda: self.job(job_id)["status"] in FINISHED, f"job {job_id} ends", left)
        return self.details(job_id)

    def _follow_to_the_end(self, job_id: int, deadline: float) -> None:
        """Returns at the end of a job or earlier; to ask again and again would take more CPU time."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=deadline - time.monotonic())
        with closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request(
                "GET", f"/jobs/{job_id}/logs/stream?follow=true&tail=1", headers=dict(self.headers)
            )
            with connection.getresponse() as response:
                while time.monotonic() < deadline and response.read1(1 << 20):
                    pass

    def run(self, config: str | dict[str, Any], seconds: float = 60, **body: Any) -> dict[str, Any]:
        """Runs a pipeline to its end; returns the details of the job."""
        return self.wait_finished(self.start_job(config, **body), seconds)

    def parked(self) -> int:
        """How many containers wait for a build, as the server says; 0 where it does not run."""
        if self.process is None or self.process.poll() is not None:
            return 0
        found = re.search(r"^rapidflow_parked_containers (\d+)", self.get("/metrics").text, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def wait_output(self, job_id: int, text: str, seconds: float = 30) -> None:
        """Waits until the stream of a job contains `text`."""
        deadline = time.monotonic() + seconds
        if text in self.stream(job_id):
            return
        while not self._follow_until(job_id, text.encode(), deadline):
            assert time.monotonic() < deadline, (
                f"waited {seconds} s in vain until job {job_id} prints {text!r}"
            )
            time.sleep(0.25)

    def _follow_until(self, job_id: int, text: bytes, deadline: float) -> bool:
        """Whether the stream of a job has `text`; False where it ends or breaks off without it."""
        wait = max(0.1, deadline - time.monotonic())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=wait)
        received = b""
        with closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/jobs/{job_id}/logs/stream?follow=true", headers=dict(self.headers))
            with connection.getresponse() as response:
                while (
                    text not in received and time.monotonic() < deadline and (data := response.read1(1 << 20))
                ):
                    received += data
        return text in received

    def follow(
        self, job_id: int, query: str = "follow=true", headers: Mapping[str, str] | None = None
    ) -> Follower:
        """Follows a stream in a thread."""
        return Follower(self.port, f"/jobs/{job_id}/logs/stream?{query}", headers or {})


class Follower:
    """Reads a stream as it comes. `complete` tells if the body ended properly; None while it goes on."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str]) -> None:
        self.received = b""
        self.complete: bool | None = None
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._connection.request("GET", path, headers=dict(headers))
        self.response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while chunk := self.response.read1(65536):
                self.received += chunk
            self.complete = True
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            self.complete = False

    def wait(self, seconds: float = 60) -> bytes:
        """Waits for the end of the stream; returns all of it."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the stream did not end"
        self._connection.close()
        return self.received

    def wait_for(self, text: bytes, seconds: float = 30) -> None:
        """Waits until `text` has come."""
        wait_for(lambda: text in self.received, f"the stream has {text!r}", seconds)

    def close(self) -> None:
        """Goes away without a word."""
        # First, because the thread that reads holds a lock that the rest waits for.
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()
        self._connection.close()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Waits until `condition()` is true."""
    begin = time.monotonic()
    while not condition():
        waited = time.monotonic() - begin
        if waited > seconds:
            raise AssertionError(f"waited {seconds} s in vain until {what}")
        time.sleep(pause_after(waited))


def pause_after(waited: float) -> float:
    """The seconds until the next look at what a test has waited for so long: each look costs CPU time."""
    return min(0.25, max(0.02, waited / 8))


def containers(label: str = "rapidflow.installation") -> list[str]:
    """Ids of all containers with a label, running or not."""
    return engine_api.ids(label=label)


def containers_of(server: Server) -> list[str]:
    """Ids of all containers that a server made for its builds."""
    return containers(f"rapidflow.installation={_installation(server)}")


def described(server: Server) -> str:
    """The name and the state of each container that a server made for its builds."""
    found = engine_api.containers(label=f"rapidflow.installation={_installation(server)}")
    return "\n".join(f"{one['Names'][0]} {one['Status']}" for one in found)


def _installation(server: Server) -> str:
    return (server.data / "installation").read_text()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
