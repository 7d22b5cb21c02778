"""Imports the server's modules without work whose results it uses late or never.

That is a third of the time that these imports take. What is replaced and not there in another version of a
library is left alone. One that calls, while it is imported, what is in a module of `_UNUSED` makes the start
fail, and says what it has called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import re
import ssl
import sys
from collections.abc import Callable, Generator, Iterable
from types import ModuleType
from typing import Any, NoReturn, cast

_UNUSED = (
    # Hypercorn's protocols that `protocol.py` does not speak, and types of other workers than asyncio's.
    "h2",
    "h2.events",
    "hypercorn.protocol.h2",
    "hypercorn.protocol.ws_stream",
    "multiprocessing",
    "multiprocessing.synchronize",
    # The command line of Flask, and Quart's test client.
    "click.testing",
    "flask.cli",
    "http.cookiejar",
    "quart.testing.app",
    "quart.testing.client",
    "quart.testing.connections",
    # WebSockets and tracing of aiohttp's client, its digest authentication, and how it finds proxies.
    "aiohttp._websocket.reader",
    "aiohttp.client_middleware_digest_auth",
    "aiohttp.client_ws",
    "aiohttp.http_websocket",
    "aiohttp.tracing",
    "urllib.request",
    # Servers of prometheus-client and Werkzeug, and the test client of that.
    "http.server",
    "werkzeug.serving",
    "werkzeug.test",
    "wsgiref.simple_server",
    # Hypercorn's configuration of logging, and what attrs offers to validate with.
    "attr.validators",
    "logging.config",
    # How Tortoise runs coroutines from threads, and how packages are found in zip files.
    "anyio",
    "zipfile",
)
"""Modules that libraries import for what the server does not use."""

UNUSED_FILTERS = (
    *("__endswith", "__icontains", "__iendswith", "__iexact", "__iposix_regex", "__istartswith"),
    *("__posix_regex", "__search"),
    *("__day", "__hour", "__microsecond", "__minute", "__month", "__quarter", "__second", "__week", "__year"),
)
"""Ends of the names of Tortoise's filters by which the server looks for nothing; they take 1.3 MB."""


@contextlib.contextmanager
def quick_imports() -> Generator[None]:
    """Makes imports quick as long as the block lasts. For the start of the server, when nothing else runs."""
    with (
        _without(_UNUSED),
        _replaced(ssl.SSLContext, "set_default_verify_paths", _no_certificates),
        _replaced(inspect, "getsource", _no_source),
        _replaced(re, "compile", _compile_domains_later),
        _replaced(dataclasses, "_create_fn", _compile_methods_later),
    ):
        from tortoise import models

        every = getattr(models, "get_filters_for_field", None)
        with _replaced(models, "get_filters_for_field", functools.partial(_used_filters, every)):
            yield


class _Unused(type):
    """The type of names in modules that are not imported. They can be inherited from, but not called."""

    def __getitem__(cls, _: object) -> _Unused:
        return cls

    def __call__(cls, *_: object, **__: object) -> NoReturn:
        raise ImportError(f"{cls.__name__} was not imported (see server/imports.py)")


class _UnusedModule(ModuleType):
    """Has every name."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unused(name, (), {})


@contextlib.contextmanager
def _without(modules: Iterable[str]) -> Generator[None]:
    """Those of `modules` that were not imported yet are not, until the block ends."""
    empty: dict[str, ModuleType] = {name: _UnusedModule(name) for name in modules if name not in sys.modules}
    for name, module in empty.items():
        package, _, last = name.rpartition(".")
        if package in empty:
            setattr(empty[package], last, module)
    sys.modules |= empty
    try:
        yield
    finally:
        for name, module in empty.items():
            del sys.modules[name]
            package, _, last = name.rpartition(".")
            if vars(sys.modules.get(package, module)).get(last) is module:
                delattr(sys.modules[package], last)


@contextlib.contextmanager
def _replaced(owner: object, name: str, function: Callable[..., Any]) -> Generator[None]:
    if (original := getattr(owner, name, None)) is None:
        yield
        return
    setattr(owner, name, function)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _no_certificates(_: ssl.SSLContext) -> None:
    """aiohttp would read all that the machine trusts, twice. Without, its own contexts trust nobody.

    `outgoing.py` has the one to use.
    """


def _no_source(_: object) -> NoReturn:
    """Tortoise would parse its own source, for comments of columns."""
    raise OSError


_compile = re.compile


class _Expression:
    """An expression that is compiled when it is first used."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._given = pattern, flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # what makes a copy asks an empty one first
        return getattr(_compile(*self._given), name)


def _compile_domains_later(pattern: Any, flags: int = 0) -> Any:
    """Tortoise would compile what all names of domains look like, which takes as long as 200 others."""
    return _Expression(pattern, flags) if "|xn--" in str(pattern) else _compile(pattern, flags)


def _used_filters(every: Any, *column: Any, **of: Any) -> dict[str, Any]:
    """Tortoise would keep 31 filters for each column."""
    return {name: kept for name, kept in every(*column, **of).items() if not name.endswith(UNUSED_FILTERS)}


# Python 3.13 compiles all methods of a dataclass at once, and has no such function.
_create = cast("Callable[..., Callable[..., Any]]", getattr(dataclasses, "_create_fn", None))


def _compile_methods_later(name: str, *arguments: Any, **more: Any) -> Callable[..., Any]:
    """Dataclasses would compile up to six methods each, of which most are never called."""
    if name == "__init__":
        return _create(name, *arguments, **more)
    made: Callable[..., Any] | None = None

    def method(*given: Any) -> Any:
        nonlocal made
        if made is None:
            made = _create(name, *arguments, **more)
        return made(*given)

    method.__name__ = name
    return method
