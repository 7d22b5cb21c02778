"""A start does no work that can be left for later."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

from rapidflow_web.server.app import create_app
from rapidflow_web.settings import from_environment
from tests.support.certificates import make_certificate

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


_LEAN = """
import inspect, re, ssl, sys
before = inspect.getsource, re.compile, ssl.SSLContext.set_default_verify_paths
from rapidflow_web.server.imports import import_libraries

import_libraries()
import rapidflow_web.server.run
assert (inspect.getsource, re.compile, ssl.SSLContext.set_default_verify_paths) == before
print([name for name in ("wsproto", "hpack", "hypercorn.protocol.h3") if name in sys.modules])

from aiohttp.connector import _SSL_CONTEXT_VERIFIED
from rapidflow_web import outgoing
print(len(_SSL_CONTEXT_VERIFIED.get_ca_certs()), len(outgoing._trusting().get_ca_certs()) > 0)

from tortoise import validators
validators.validate_domain_name("builds.example.org")
try:
    validators.validate_domain_name("no domain")
except validators.InvalidDomainName:
    print("refused")
"""


def test_libraries_are_imported_without_what_the_server_does_not_use(tmp_path: Path) -> None:
    make_certificate(tmp_path / "key.pem", certificate := tmp_path / "certificate.pem")
    environment = {**os.environ, "SSL_CERT_FILE": str(certificate)}
    done = subprocess.run([sys.executable, "-c", _LEAN], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("[]\n0 True\nrefused\n", "")


async def test_a_server_that_has_started_collects_its_garbage(tmp_path: Path) -> None:
    settings = from_environment({"RAPIDFLOW_DATA": str(tmp_path), "RAPIDFLOW_EXECUTOR": "process"})
    gc.disable()
    try:
        async with create_app(settings).test_app():
            assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
