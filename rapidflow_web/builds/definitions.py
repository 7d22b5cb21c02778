"""Reads definitions as the settings of this server have it."""

from __future__ import annotations

from rapidflow_web.pipeline import parser
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.settings import Settings


def parse(settings: Settings, config: str, name: str | None = None) -> ParsedPipeline:
    """The pipeline in YAML text; `name` serves where the text has none. Raises `Invalid`."""
    return parser.parse(config, settings.file_roots, name, settings.most_limits)
