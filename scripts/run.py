"""`make run`: the server, with all that it needs on a machine that has nothing yet."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

from rapidflow_web.cli import main as command
from rapidflow_web.data_folder import DataFolder
from rapidflow_web.errors import RapidFlowError, SettingsError
from rapidflow_web.settings import Bind, Settings, from_environment, variable
from scripts import base_image, debian, engine
from scripts.example import Example

_CHECKOUT = Path(__file__).parent.parent


def main() -> None:
    """Prepares what is missing, says so, and serves until Ctrl-C."""
    os.environ.setdefault(variable("data"), str(_CHECKOUT / ".data"))
    try:
        settings = from_environment(os.environ)
        _check_port(settings.bind)
        if debian.provide({"git": "git"}):
            raise SettingsError("git is needed to fetch what is built; install it.")
        # Whatever is put into it below, nobody else may look into it.
        DataFolder(settings.data)
        _prepare_executor(settings)
        _prepare_example(settings)
    except RapidFlowError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    command.main(["serve"])


def _check_port(bind: Bind) -> None:
    """Tells of a port that is taken before minutes are spent on preparing."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    try:
        socket.create_server((bind.host, bind.port), family=family).close()
    except OSError as error:
        raise SettingsError(
            f"{variable('bind')} is '{bind}', which can't be used: {os.strerror(error.errno or 0)}. "
            "Stop what listens there, or set another."
        ) from error


def _prepare_executor(settings: Settings) -> None:
    if settings.executor == "process":
        return
    if problem := engine.ensure():
        print(f"Warning: {problem}.", file=sys.stderr)
        if not os.environ.get(variable("executor")):
            os.environ[variable("executor")] = "process"
            print(
                "Warning: builds run as plain processes of this user, without isolation, "
                "until 'make run' finds an engine.",
                file=sys.stderr,
            )
        return
    if not os.environ.get(variable("default_image")):
        image = asyncio.run(base_image.ensure(settings.default_image, settings.data / "work"))
        if image != settings.default_image:
            os.environ[variable("default_image")] = image
            print(f"Builds that name no image run in {image}.")


def _prepare_example(settings: Settings) -> None:
    folder = settings.data / "examples"
    os.environ[variable("file_roots")] = ":".join((*settings.file_roots, str(folder)))
    example = Example(folder)
    example.place()
    # A server on a port that the system chooses is not found from here.
    if settings.bind.port:
        example.start_once(f"http://{settings.bind}")


if __name__ == "__main__":
    main()
