"""Pages out of templates. Nothing in them waits for anything, so they are rendered in one go."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

from jinja2 import meta
from quart import Quart, current_app
from quart.templating import Environment

from rapidflow_web.web.prefix import prefix_of

_ADDRESS = re.compile(r'(\s(?:href|src|action|hx-[a-z]+|data-[a-z]+)=")(?=/)')
"""Where a template has an address of this server in an attribute; all of them begin with a slash."""


class PlainEnvironment(Environment):
    """Quart's, with templates compiled to functions: coroutines would await each of their expressions.

    The addresses in templates, as they are written there, have the prefix of `web.prefix` before them.
    """

    def __init__(self, app: Quart, **options: Any) -> None:
        super().__init__(app, **options)
        self.is_async = False
        self._prefix = prefix_of(app)
        self.globals["prefix"] = self._prefix  # pyright: ignore[reportArgumentType]
        self.compiled: set[str] = set()
        """The templates that `compile_with_all` has compiled."""

    def compile_with_all(self, template: str) -> None:
        """Compiles a template with all that it refers to."""
        self.compiled.add(template)
        if self.loader is not None:
            source, _, _ = self.loader.get_source(self, template)
            for name in meta.find_referenced_templates(self.parse(source)):
                if name is not None and name not in self.compiled:
                    self.compile_with_all(name)
        self.get_template(template)

    def preprocess(self, source: str, name: str | None = None, filename: str | None = None) -> str:
        """The text of a template as it is compiled."""
        source = super().preprocess(source, name, filename)
        return _ADDRESS.sub(lambda match: match[1] + self._prefix, source) if self._prefix else source


async def render(template: str, **values: Any) -> str:
    """The text of a template with values, and with those that all pages have."""
    await current_app.update_template_context(values)
    environment = cast(PlainEnvironment, current_app.jinja_env)
    if template not in environment.compiled:
        # Beside the loop: that takes a tenth of a second.
        await asyncio.to_thread(environment.compile_with_all, template)
    return environment.get_template(template).render(values)
