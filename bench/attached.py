"""What an engine alone gives of a container's output, which measures of throughput are compared with."""

from __future__ import annotations

import http.client
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rapidflow_web.executors.agent import protocol
from rapidflow_web.pipeline.definition import StepDefinition

_SOCKET = "/var/run/docker.sock"
_HEADER = struct.Struct(">BxxxL")
_NONCE = "0" * 32


class _Engine(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(_SOCKET)


def bare(image: str, command: str) -> tuple[int, float]:
    """Bytes that a container prints which only runs `command`, and the seconds from the first to its end."""
    name = _docker("create", "--log-driver", "none", image, "sh", "-c", command)
    try:
        with _attached(name) as connection:
            _docker("start", name)
            return _timed(_payloads(connection))
    finally:
        _docker("rm", "--force", name)


def agent(image: str, command: str) -> tuple[int, float]:
    """The same of the agent with its copy, from the marker of a step's start to that of its end."""
    name = _docker("create", "--interactive", "--log-driver", "none", "--entrypoint", "/bin/sh", image,
                   *protocol.command_line("", "copy")[1:])  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "rapidflow"
            protocol.write_scripts(home, [StepDefinition(command)], {}, PurePosixPath("/workspace"))
            _docker("cp", str(home), f"{name}:/")
        with _attached(name) as connection:
            _docker("start", name)
            connection.sendall(f"{_NONCE}\nrun 1\n".encode())
            payloads = _payloads(connection)
            begun = f"\x1e{_NONCE} start 1\n".encode()
            ended = f"\x1e{_NONCE} exit 1 0\n".encode()
            said = b""
            while begun not in said:
                said += next(payloads)
            return _timed(_until(ended, said.partition(begun)[2], payloads))
    finally:
        _docker("rm", "--force", name)


def _until(ended: bytes, said: bytes, payloads: Iterator[bytes]) -> Iterator[bytes]:
    tail = said
    if said:
        yield said
    while not tail.endswith(ended):
        data = next(payloads)
        tail = (tail + data)[-len(ended) :] if len(data) < len(ended) else data[-len(ended) :]
        yield data[: -len(ended)] if tail.endswith(ended) else data


def _timed(payloads: Iterator[bytes]) -> tuple[int, float]:
    size = 0
    begin = None
    for data in payloads:
        begin = begin or time.perf_counter()
        size += len(data)
    return size, time.perf_counter() - (begin or 0)


def _payloads(connection: socket.socket) -> Iterator[bytes]:
    data = b""
    while received := connection.recv(1 << 20):
        data = data + received if data else received
        position = 0
        while len(data) - position >= _HEADER.size:
            end = position + _HEADER.size + _HEADER.unpack_from(data, position)[1]
            if end > len(data):
                break
            yield data[position + _HEADER.size : end]
            position = end
        data = data[position:]


def _attached(container: str) -> socket.socket:
    engine = _Engine("localhost")
    engine.request("POST", f"/v1.41/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1",
                   headers={"Connection": "Upgrade", "Upgrade": "tcp"})  # fmt: skip
    answer = engine.sock.recv(65536)
    assert b" 101 " in answer and answer.endswith(b"\r\n\r\n"), answer
    return engine.sock


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()
