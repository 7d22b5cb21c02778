"""Runs the app under Hypercorn in this process, and ends it in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

from hypercorn import protocol as hypercorn_protocol
from hypercorn.asyncio import run as hypercorn_run
from hypercorn.asyncio import serve as hypercorn_serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config, Sockets

from rapidflow_web import terminal
from rapidflow_web.builds.supervisor import Supervisor
from rapidflow_web.data_folder import DataFolder
from rapidflow_web.errors import RapidFlowError, SettingsError
from rapidflow_web.server import connections, protocol
from rapidflow_web.server.app import create_app
from rapidflow_web.server.connections import Connection, notice_vanished, raise_descriptor_limit
from rapidflow_web.settings import Bind, Settings, misspelt
from rapidflow_web.shielding import EndedEarly, unless
from rapidflow_web.web.services import EXTENSION, Services

_BACKLOG = 1024
"""Clients that may come at once; one more has to try again, which it does after a second."""
_GRACEFUL_SECONDS = 0.5
_LONGEST_END = 1.1
"""Seconds after SIGTERM at which the process ends, whatever hangs. The next server takes up what is left.

Few enough for two seconds to be kept also on a machine that has much else to do.
"""
_LOCK_SECONDS = 1.0
"""How long the data folder may be locked by a program that a killed server was just starting."""
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Where a server that listens on every address of this kind is found on its own machine."""
_log = logging.getLogger(__name__)


def serve(settings: Settings, *, drain: bool = False) -> None:
    """Serves until SIGTERM or SIGINT; builds that run go on, for the next server. Raises `RapidFlowError`.

    With `drain` it first starts no more builds and waits for those that run, or for a second signal.
    """
    for name, meant in misspelt(os.environ).items():
        _log.warning("%s is not a setting; did you mean %s?", name, meant)
    for root in settings.file_roots:
        if not Path(root).is_dir():
            _log.warning("RAPIDFLOW_FILE_ROOTS names %s, which is not a folder", root)
    logging.getLogger("tortoise").setLevel(logging.WARNING)
    # Why the start fails is for the caller to say, in a sentence; the framework would print a traceback, too.
    logging.getLogger("rapidflow_web").addFilter(_is_no_error_of_ours)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, drain))


def _loop_factory():
    try:
        import uvloop
    except ImportError:  # not on this platform
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings, drain: bool) -> None:
    with DataFolder(settings.data).owned(_LOCK_SECONDS):
        await _serve_alone(settings, drain)


async def _serve_alone(settings: Settings, drain: bool) -> None:
    listener = _listen(settings.bind)
    host, port = listener.getsockname()[:2]
    # The system may have chosen the port.
    app = create_app(replace(settings, bind=Bind(settings.bind.host, port)))
    services: Services = app.extensions[EXTENSION]
    config = _Config()
    # Hypercorn closes it.
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = _GRACEFUL_SECONDS
    config.backlog = _BACKLOG
    config.keep_alive_timeout = connections.PATIENCE
    config.keep_alive_max_requests = 1_000_000
    config.include_server_header = False
    config.errorlog = None
    signals = _Signals()

    async def announced() -> None:
        own = f"http://{Bind(_LOOPBACK.get(str(host), str(host)), port)}"
        if host in _LOOPBACK:
            own += " and every other address of this machine"
        seen = f"{settings.public_url} (here {own})" if settings.public_url is not None else own
        _say_ready(f"RapidFlow Web is ready: {seen}", settings.log_format)
        await signals.next()
        if drain:
            await _drain(services.supervisor, signals)
        running = services.supervisor.running
        _log.info(
            "ending on SIGTERM or SIGINT; %s for the next server",
            "1 build that runs goes on" if running == 1 else f"{running} builds that run go on",
        )
        _end_surely()
        services.streams.cut()
        services.builds.abort_waits()
        services.triggers.repositories.server_ends.set()

    Connection.most, Connection.refusal = _most_connections(settings), protocol.too_many()
    Connection.shut_out = services.executor.addresses
    # There are no settings for these.
    hypercorn_run.TCPServer = Connection  # pyright: ignore[reportPrivateImportUsage]
    hypercorn_protocol.H11Protocol = protocol.StrictProtocol  # pyright: ignore[reportPrivateImportUsage]
    try:
        await hypercorn_serve(app, config, shutdown_trigger=announced)
    except Exception as error:
        if cause := _of_ours(error):
            raise cause from None
        raise


class _Config(Config):
    """Keeps the listener to ourselves: a git that outlives a killed server would hold its port."""

    def create_sockets(self) -> Sockets:
        sockets = super().create_sockets()
        for one in sockets.insecure_sockets:
            one.set_inheritable(False)
        return sockets


def _most_connections(settings: Settings) -> int:
    # A follower takes two files, its connection and the log. Without a rest no build could be started.
    possible = raise_descriptor_limit() // 2
    if settings.connections > possible:
        _log.warning(
            "at most %d clients are served instead of %d, because the server may open only %d files; "
            "raise the limit (ulimit -n) or lower RAPIDFLOW_CONNECTIONS",
            possible,
            settings.connections,
            2 * possible,
        )
    return min(settings.connections, possible)


def _say_ready(sentence: str, log_format: str) -> None:
    if log_format == "json":
        _log.info("%s", sentence)
    else:
        try:
            print(sentence, flush=True)
        except OSError as error:
            terminal.drop_output()
            _log.warning("%s; standard output takes nothing: %s", sentence, error.strerror)


class _Signals:
    """The requests to end."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        """Set when another one has come that `next` has not given yet."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.came.set)

    async def next(self) -> None:
        """Waits for another one."""
        await self.came.wait()
        self.came.clear()


async def _drain(supervisor: Supervisor, signals: _Signals) -> None:
    _log.info("no more builds are started; a second signal ends the server before those that run have ended")
    with contextlib.suppress(EndedEarly):
        await unless(signals.came, supervisor.drain())


def _end_surely() -> None:
    # In a thread, because it may be the loop that hangs, or a disk that a thread waits for at the exit.
    timer = threading.Timer(_LONGEST_END, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _of_ours(error: BaseException | None) -> RapidFlowError | None:
    """The error of ours that made the start fail, out of what the server wrapped around it."""
    while error is not None:
        if isinstance(error, RapidFlowError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _is_no_error_of_ours(record: logging.LogRecord) -> bool:
    return not (isinstance(record.exc_info, tuple) and isinstance(record.exc_info[1], RapidFlowError))


def _listen(bind: Bind) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bind.host, bind.port))
        notice_vanished(listener)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"RAPIDFLOW_BIND is '{bind}', which can't be used: {error.strerror}. "
            "Stop what listens there, or set another."
        ) from error
    listener.setblocking(False)
    return listener
