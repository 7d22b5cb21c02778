"""A start does no work that can be left for later."""

from __future__ import annotations

import copy
import gc
import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import rapidflow_web
from rapidflow_web.api import schemas
from rapidflow_web.server.app import create_app
from rapidflow_web.server.imports import UNUSED_FILTERS, quick_imports
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
import dataclasses, inspect, re, ssl, sys
def replaced():
    create = vars(dataclasses).get("_create_fn")
    return inspect.getsource, re.compile, ssl.SSLContext.set_default_verify_paths, create
before = replaced()
from rapidflow_web.server import imports

with imports.quick_imports():
    import rapidflow_web.server.run
assert replaced() == before
unused = (
    *("wsproto", "hpack", "multiprocessing.context", "pdb", "flask.cli", "http.server", "anyio"),
    *("aiohttp._websocket", "quart.testing.client", "urllib.request"),
)
print([name for name in unused if name in sys.modules])
print([
    f"{module}.{name}"
    for module in list(sys.modules)
    if module.startswith("rapidflow_web.")
    for name, value in vars(sys.modules[module]).items()
    if isinstance(value, (imports._Unused, imports._UnusedModule))
])
# What requests need is imported in the thread that reads the certificates, not on the event loop.
from rapidflow_web import outgoing
outgoing.trusting()
print("urllib.request" in sys.modules)
# Others still can.
import anyio.from_thread, h2.events, http.server, multiprocessing.synchronize
from attr import validators
print(validators.instance_of(int).type)

from aiohttp.connector import _SSL_CONTEXT_VERIFIED
print(len(_SSL_CONTEXT_VERIFIED.get_ca_certs()), len(outgoing.trusting().get_ca_certs()) > 0)

from tortoise import validators
validators.validate_domain_name("builds.example.org")
try:
    validators.validate_domain_name("no domain")
except validators.InvalidDomainName:
    print("refused")
"""


def test_annotations_of_schemas_are_no_text_that_a_start_has_to_compile() -> None:
    found = list(Path(schemas.__file__).parent.glob("*schemas.py"))
    assert len(found) == 5
    for module in found:
        assert "from __future__" not in module.read_text(), module.name


def test_libraries_are_imported_without_what_the_server_does_not_use(tmp_path: Path) -> None:
    make_certificate(tmp_path / "key.pem", certificate := tmp_path / "certificate.pem")
    environment = {**os.environ, "SSL_CERT_FILE": str(certificate)}
    done = subprocess.run([sys.executable, "-c", _LEAN], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("[]\n[]\nTrue\n<class 'int'>\n0 True\nrefused\n", "")


_FILTERS = """
from rapidflow_web.server.imports import UNUSED_FILTERS, quick_imports

with quick_imports():
    from rapidflow_web.db.models import Job
from tortoise import fields, models
class Later(models.Model):
    name = fields.TextField()
print([name for name in Job._meta._filters if name.endswith(UNUSED_FILTERS)], "id__in" in Job._meta._filters)
print({f"name{end}" for end in UNUSED_FILTERS} - Later._meta._filters.keys())
"""


def test_columns_have_only_the_filters_that_the_server_uses() -> None:
    done = subprocess.run([sys.executable, "-c", _FILTERS], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[] True\nset()\n", "")
    uses = re.compile(rf"[\w}}](?:{'|'.join(UNUSED_FILTERS)})\b")
    assert uses.search("name__iexact=") and uses.search('f"{column}__iexact"')
    sources = list(Path(rapidflow_web.__file__).parent.rglob("*.py"))
    assert len(sources) > 300
    assert [(path.name, found[0]) for path in sources if (found := uses.search(path.read_text()))] == []


def test_what_was_not_imported_says_so_when_it_is_called() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAN + "import prometheus_client as p; p.start_http_server(0)"],
        capture_output=True,
        text=True,
    )
    assert "ImportError: make_server was not imported (see server/imports.py)" in done.stderr


def test_dataclasses_are_what_they_always_are() -> None:
    def points() -> tuple[type[Any], type[Any]]:
        @dataclass(frozen=True, slots=True, order=True)
        class Point:
            x: int
            y: list[str] = field(default_factory=list, hash=False)

        @dataclass
        class Place:
            point: Any
            name: str = field(default="here", kw_only=True)

        return Point, Place

    with quick_imports():
        quick = points()
    if sys.version_info < (3, 13):
        assert quick[0].__eq__.__module__ == quick_imports.__module__  # that is compiled when it is called
    for point, place in (quick, points()):
        one = point(1, ["a"])
        assert repr(one).endswith("Point(x=1, y=['a'])")
        assert point.__eq__.__qualname__.endswith("Point.__eq__")
        assert one == point(1, ["a"]) != point(1, ["b"]) and one != (1, ["a"])
        assert {one: True}[point(1, ["a"])] and point(0) < one < point(2) and replace(one, x=2).x == 2
        with pytest.raises(FrozenInstanceError, match="assign to field 'x'"):
            one.x = 3
        with pytest.raises(FrozenInstanceError, match="delete field 'x'"):
            del one.x
        assert place(one) == place(one, name="here") and copy.deepcopy(one) == one
        assert asdict(place(one)) == {"point": {"x": 1, "y": ["a"]}, "name": "here"}
        with pytest.raises(TypeError, match="unhashable"):
            hash(place(one))
        assert str(signature(point)) == "(x: 'int', y: 'list[str]' = <factory>) -> None"


async def test_a_server_that_has_started_collects_its_garbage(tmp_path: Path) -> None:
    settings = from_environment({"RAPIDFLOW_DATA": str(tmp_path), "RAPIDFLOW_EXECUTOR": "process"})
    gc.disable()
    try:
        async with create_app(settings).test_app():
            assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
