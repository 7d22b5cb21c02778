"""Reads definitions as the settings of this server have it."""

from __future__ import annotations

import asyncio

from rapidflow_web.db.models import Definition
from rapidflow_web.pipeline import parser
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.settings import Settings


async def parse(settings: Settings, config: str, name: str | None = None) -> ParsedPipeline:
    """The pipeline in YAML text; `name` serves where the text has none. Raises `Invalid`."""
    # Who wrote it may have made it slow to read.
    return await asyncio.to_thread(parser.parse, config, settings.file_roots, name, settings.most_limits)


async def stored(definition: Definition) -> ParsedPipeline:
    """The pipeline of a stored definition. Raises `Invalid`: an earlier version may have taken it."""
    return await asyncio.to_thread(parser.parse_stored, definition.config, definition.name)
