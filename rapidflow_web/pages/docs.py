"""The documentation, and the page of the API that is made from the same document that programs read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from quart import current_app

from rapidflow_web.errors import NotFound
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.documents import Document, every
from rapidflow_web.web.prefix import prefix_of
from rapidflow_web.web.templates import render

_rendered: dict[str, list[Document]] = {}
"""All documents for each prefix that an application of this process has."""


@blueprint.get("/ui/docs")
async def show_documents() -> str:
    """All documents with their parts."""
    return await render("documents.html", documents=await _documents())


@blueprint.get("/ui/docs/<name>")
async def show_document(name: str) -> str:
    """One document."""
    documents = await _documents()
    found = next((one for one in documents if one.name == name), None)
    if found is None:
        raise NotFound(f"there is no document '{name[:40]}'")
    return await render("document.html", document=found, documents=documents)


@blueprint.get("/ui/api")
async def show_api() -> str:
    """All calls of the API."""
    documentation = current_app.extensions["QUART_SCHEMA"]
    # The first request makes it, which takes longer than anything may hold the loop.
    described: dict[str, Any] = await asyncio.to_thread(documentation.openapi_provider.schema)
    calls = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    calls.sort(key=lambda call: _room(call["path"]))  # those of one path stay in their order
    groups = [(room, list(some)) for room, some in groupby(calls, lambda call: _room(call["path"]))]
    return await render(
        "api.html",
        groups=groups,
        errors=_errors(calls),
        schemas=described["components"]["schemas"],
        documents=await _documents(),
    )


def _errors(calls: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What each status of an error means, where it means the same for all calls that answer it."""
    meanings: dict[str, set[str]] = {}
    for call in calls:
        for code, answer in call["responses"].items():
            if code >= "400":
                meanings.setdefault(code, set()).add(answer["description"])
    return {code: one for code, (one, *others) in sorted(meanings.items()) if not others}


def _room(path: str) -> str:
    """What a path is about: its first word."""
    return path.split("/")[1]


async def _documents() -> list[Document]:
    prefix = prefix_of(current_app)
    if prefix not in _rendered:
        # Longer than anything may hold the loop.
        _rendered[prefix] = await asyncio.to_thread(every, prefix)
    return _rendered[prefix]
