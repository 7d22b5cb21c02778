"""Starts the `rapidflow` command without the seconds that its imports take, for tests of what it does then.

One process imports what the command needs, once, and forks for each start. The fork becomes what an
executed command would be: a process with its own id, folder, umask, environment, arguments and streams, and
nothing else open. Only `/proc` shows the command line and environment of the process that forked, limits of
resources are those of the first start, and nothing waits for threads at its end. Tests of these, of imports
and of closed streams execute the command.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from jinja2 import FileSystemBytecodeCache

_LONGEST_REQUEST = 100_000
"""Bytes of arguments and environment."""
_NUMBER = struct.Struct("i")
CHEAP_HASHES = "TESTS_CHEAP_HASHES"
"""The variable with which a command makes hashes of passwords that are made and checked in no time."""
_OF_INTERPRETER = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "OPENSSL_")
"""Variables that an interpreter reads when it starts."""


class Command:
    """A running command; its methods do what those of `subprocess.Popen` do."""

    def __init__(self, arguments: Sequence[str], end: int) -> None:
        self.args = ["rapidflow", *arguments]
        self.returncode: int | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self._end = end
        self.pid = self._number()

    def _number(self) -> int:
        data = os.read(self._end, _NUMBER.size)
        assert data, "the process that forks is gone"
        return _NUMBER.unpack(data)[0]

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._end, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = self._number()
            os.close(self._end)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> Command:
    """Starts it. A stream is a descriptor, a file, or `PIPE` for output; else that of the tests."""
    environment = dict(os.environ if env is None else env)
    read_end, write_end = os.pipe()
    pipes: list[int | None] = [None, None]
    given: list[int] = []
    to_close = [write_end]
    for number, stream in enumerate((stdin, stdout, stderr)):
        if stream == subprocess.PIPE:
            assert number > 0, "give input as a file"
            pipes[number - 1], ours = os.pipe()
            to_close.append(ours)
            given.append(ours)
        else:
            given.append(number if stream is None else stream if isinstance(stream, int) else stream.fileno())
    umask = os.umask(0o077)  # the only way to read it
    os.umask(umask)
    request = {
        "arguments": arguments, "environment": environment, "folder": str(Path.cwd()), "umask": umask
    }  # fmt: skip
    data = json.dumps(request).encode()
    assert len(data) < _LONGEST_REQUEST
    socket.send_fds(_forking(_read_by_interpreter(environment)), [data], [*given, write_end])
    for descriptor in to_close:
        os.close(descriptor)
    command = Command(arguments, read_end)
    command.stdout, command.stderr = (None if pipe is None else os.fdopen(pipe, "rb") for pipe in pipes)
    return command


def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    input: bytes = b"",
    stdout: int | IO[bytes] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[bytes]:
    """Runs it to its end, with what it writes to the streams that are not given. Raises `TimeoutExpired`."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(input)
        given.seek(0)
        command = start(
            *arguments, env=env, stdin=given, stdout=out if stdout is None else stdout, stderr=err
        )
        try:
            code = command.wait(timeout)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command.args, code, out.read(), err.read())


def _read_by_interpreter(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in environment.items() if item[0].startswith(_OF_INTERPRETER)))


@functools.cache
def _forking(variables: tuple[tuple[str, str], ...]) -> socket.socket:
    """The connection to a process that forks, whose interpreter has these variables. It ends with ours."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    templates = tempfile.mkdtemp(prefix="rapidflow-templates-")
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(there.fileno()), templates],
        pass_fds=[there.fileno()],
        cwd=Path(__file__).parents[2],
        # Nothing of the first test's: some end all processes that know of their folder.
        env={"PATH": os.defpath, **dict(variables)},
    )
    there.close()

    def end() -> None:
        here.close()
        process.wait()
        shutil.rmtree(templates, ignore_errors=True)

    atexit.register(end)
    return here


# In the process that forks

_IMPORTED = (
    "rapidflow_web.cli.main",
    "rapidflow_web.server.run",
    "rapidflow_web.server_log",
    "rapidflow_web.maintenance.backup",
    "rapidflow_web.maintenance.doctor",
    "tortoise.backends.sqlite.client",
    "tortoise.migrations.api.migrate",
    "tortoise.migrations.operations",
    "encodings.idna",
    "uvloop",
)


def _fork_for_each_request(connection: socket.socket, folder: str) -> None:
    """Returns in each fork, and never here."""
    from rapidflow_web.server.imports import quick_imports

    with quick_imports():
        for module in _IMPORTED:
            importlib.import_module(module)
    _prepare(folder)
    gc.collect()
    gc.freeze()
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    ends: dict[int, tuple[int, int]] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in ends:
                pid, end = ends.pop(descriptor)
                poll.unregister(descriptor)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(BrokenPipeError):
                    os.write(end, _NUMBER.pack(code))
                os.close(descriptor)
                os.close(end)
                continue
            data, given, _, _ = socket.recv_fds(connection, _LONGEST_REQUEST, 4)
            if not data:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                connection.detach()
                _become(given[:3], **json.loads(data))
                return
            *streams, end = given
            for stream in streams:
                os.close(stream)
            with contextlib.suppress(BrokenPipeError):
                os.write(end, _NUMBER.pack(pid))
            pidfd = os.pidfd_open(pid)
            ends[pidfd] = pid, end
            poll.register(pidfd, select.POLLIN)


def _prepare(folder: str) -> None:
    """Has forks find what servers make when they are first asked; compiled templates in a folder."""
    from pydantic import BaseModel

    from rapidflow_web.web.templates import PlainEnvironment

    found: list[type[BaseModel]] = [BaseModel]
    for model in found:
        found += model.__subclasses__()
        if model.__module__.startswith("rapidflow_web."):
            model.model_rebuild()

    made = PlainEnvironment.__init__

    def make(self: PlainEnvironment, *arguments: object, **options: object) -> None:
        made(self, *arguments, **options)
        # What a template is compiled to has the prefix in it.
        prefix = str(self.globals["prefix"]).replace("/", "+")
        self.bytecode_cache = FileSystemBytecodeCache(folder, f"{prefix}%s.cache")

    PlainEnvironment.__init__ = make


def _become(
    streams: Sequence[int],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    umask: int,
) -> None:
    """Makes this fork what the command would be if it had been executed."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        old = getattr(sys, name)
        new = os.fdopen(number, mode, 1 if number == 2 else -1, old.encoding, old.errors, closefd=False)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [importlib.import_module("rapidflow_web").__path__[0] + "/__main__.py", *arguments]


if __name__ == "__main__":
    _fork_for_each_request(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    from rapidflow_web.cli.main import main

    if os.environ.pop(CHEAP_HASHES, None) is not None:
        import argon2

        from rapidflow_web.accounts import credentials

        cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        credentials._hasher = lambda: cheap

    try:
        main()
    except SystemExit as end:
        # The end of an interpreter touches all that it shares with the process that forked.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)
