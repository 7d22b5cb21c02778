"""A start does no work that can be left for later."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

from rapidflow_web.server.app import create_app
from rapidflow_web.settings import from_environment

_IMPORTS = """
import inspect

def no_source(read: object) -> str:
    assert not getattr(read, "__module__", "").startswith("rapidflow_web."), f"{read} is read as source"
    raise OSError

inspect.getsource = no_source
import rapidflow_web.server.run
from rapidflow_web.web.requests import Model

def all_of(model):
    return [model, *(one for sub in model.__subclasses__() for one in all_of(sub))]

print([model.__name__ for model in all_of(Model)[1:] if model.__pydantic_complete__])
"""


def test_imports_read_no_source_and_compile_no_model() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


async def test_a_server_that_has_started_collects_its_garbage(tmp_path: Path) -> None:
    settings = from_environment({"RAPIDFLOW_DATA": str(tmp_path), "RAPIDFLOW_EXECUTOR": "process"})
    gc.disable()
    try:
        async with create_app(settings).test_app():
            assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
