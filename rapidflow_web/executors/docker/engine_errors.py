"""What a Docker engine answers when it does not do what it was asked, as errors of ours."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Generator

import aiodocker
import aiohttp

from rapidflow_web.errors import BuildError, EngineUnavailable, one_line
from rapidflow_web.executors.agent import protocol

_UNREACHABLE = 900
"""The status that the client makes up where it got no answer."""
_BEFORE_ADDRESS = "Cannot connect to Docker Engine via "


@contextlib.contextmanager
def engine_errors(doing: str) -> Generator[None]:
    """Turns what the client raises into errors of ours: no answer, or an answer in the engine's words."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == _UNREACHABLE:
            raise EngineUnavailable(f"the Docker engine can't be reached: {_reason(error)}") from error
        raise BuildError(f"could not {doing}: {one_line(error.message)}") from error
    except TimeoutError as error:
        raise EngineUnavailable("the Docker engine does not answer: it took too long") from error
    except (aiohttp.ClientError, OSError) as error:
        reason = one_line(str(error)) or type(error).__name__
        raise EngineUnavailable(f"the Docker engine does not answer: {reason}") from error


@contextlib.contextmanager
def start_errors() -> Generator[None]:
    """The same for the start of a container whose image may not be able to run the agent."""
    try:
        with engine_errors("start the container"):
            yield
    except BuildError as error:
        if (reason := protocol.no_shell(str(error))) is None:
            raise
        raise BuildError(reason) from error


def _reason(error: aiodocker.DockerError) -> str:
    """The address and the system's reason; the client has them in brackets within brackets."""
    cause = error.__context__
    if not isinstance(cause, aiohttp.ClientConnectorError) or isinstance(cause.os_error, ssl.SSLError):
        return one_line(error.message)
    address = error.message.removeprefix(_BEFORE_ADDRESS).partition(" [")[0]
    number = cause.os_error.errno
    # Names that can't be resolved have numbers of their own, below zero.
    what = os.strerror(number) if number is not None and number > 0 else cause.os_error.strerror
    return f"{address}: {what or cause.os_error}"


@contextlib.contextmanager
def gone_is_fine() -> Generator[None]:
    """Lets pass that a container is gone, has ended, or is being removed already."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status not in (304, 404, 409):
            raise
