"""Imports the slowest libraries without what they do meanwhile for features that the server does not use.

That is a fifth of the time that all imports take. Where a library is another one than expected, it is just
imported.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import ssl
import sys
from collections.abc import Generator
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn


def import_libraries() -> None:
    """Imports them, as long as nobody else has. For the start of the server, before its own modules."""
    with _replaced(ssl.SSLContext, "set_default_verify_paths", _no_certificates):
        import_module("aiohttp")
    with _replaced(inspect, "getsource", _no_source), _replaced(re, "compile", _compile_for_others):
        import_module("tortoise.models")
    # HTTP/2 and WebSocket, with libraries of their own. `protocol.py` speaks neither.
    for module, name in (
        ("hypercorn.protocol.h2", "H2Protocol"),
        ("hypercorn.protocol.ws_stream", "WSStream"),
    ):
        if module not in sys.modules:
            sys.modules[module] = ModuleType(module)
            setattr(sys.modules[module], name, None)


@contextlib.contextmanager
def _replaced(owner: object, name: str, function: Any) -> Generator[None]:
    original = getattr(owner, name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _no_certificates(_: ssl.SSLContext) -> None:
    """aiohttp would read all that the machine trusts, twice. Without, its own contexts trust nobody."""


def _no_source(_: object) -> NoReturn:
    """Tortoise would parse its own source, for comments of columns."""
    raise OSError


class _Later:
    """An expression that is compiled when it is first used."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._given = pattern, flags

    def __getattr__(self, name: str) -> Any:
        return getattr(re.compile(*self._given), name)


_compile = re.compile


def _compile_for_others(pattern: Any, flags: int = 0) -> Any:
    """Tortoise would compile what all names of domains look like."""
    return _Later(pattern, flags) if "|xn--" in str(pattern) else _compile(pattern, flags)
