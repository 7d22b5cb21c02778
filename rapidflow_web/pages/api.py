"""The page that describes the API, made from the same document that programs read."""

from __future__ import annotations

import asyncio
from typing import Any

from quart import current_app

from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.templates import render


@blueprint.get("/ui/api")
async def show_api() -> str:
    """All calls of the API."""
    documentation = current_app.extensions["QUART_SCHEMA"]
    # The first request makes it, which takes longer than anything may hold the loop.
    document: dict[str, Any] = await asyncio.to_thread(documentation.openapi_provider.schema)
    calls = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return await render("api.html", calls=calls, schemas=document["components"]["schemas"])
