"""Pages out of templates. Nothing in them waits for anything, so they are rendered in one go."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from jinja2 import meta
from quart import Quart, current_app
from quart.templating import Environment

from rapidflow_web.web.prefix import prefix_of

_ADDRESS = re.compile(r'(\s(?:href|src|action|hx-[a-z]+|data-[a-z]+)=")(?=/)')
"""Where a template has an address of this server in an attribute; all of them begin with a slash."""

_COMPILED: set[str] = set()
"""The templates that are compiled, with all that they refer to."""


class PlainEnvironment(Environment):
    """Quart's, with templates compiled to functions: coroutines would await each of their expressions.

    The addresses in templates, as they are written there, have the prefix of `web.prefix` before them.
    """

    def __init__(self, app: Quart, **options: Any) -> None:
        super().__init__(app, **options)
        self.is_async = False
        self._prefix = prefix_of(app)
        self.globals["prefix"] = self._prefix  # pyright: ignore[reportArgumentType]

    def preprocess(self, source: str, name: str | None = None, filename: str | None = None) -> str:
        """The text of a template as it is compiled."""
        source = super().preprocess(source, name, filename)
        return _ADDRESS.sub(lambda match: match[1] + self._prefix, source) if self._prefix else source


async def render(template: str, **values: Any) -> str:
    """The text of a template with values, and with those that all pages have."""
    await current_app.update_template_context(values)
    environment = current_app.jinja_env
    if template not in _COMPILED:
        # With all that it includes, beside the loop: that takes a tenth of a second.
        await asyncio.to_thread(_compile, environment, template)
    return environment.get_template(template).render(values)


def _compile(environment: Environment, template: str) -> None:
    assert environment.loader is not None
    source = environment.loader.get_source(environment, template)[0]
    environment.get_template(template)
    for name in meta.find_referenced_templates(environment.parse(source)):
        if name is not None and name not in _COMPILED:
            _compile(environment, name)
    _COMPILED.add(template)
