"""Pages out of templates. Nothing in them waits for anything, so they are rendered in one go."""

from __future__ import annotations

from typing import Any

from quart import Quart, current_app
from quart.templating import Environment


class PlainEnvironment(Environment):
    """Quart's, with templates compiled to functions: coroutines would await each of their expressions."""

    def __init__(self, app: Quart, **options: Any) -> None:
        super().__init__(app, **options)
        self.is_async = False


async def render(template: str, **values: Any) -> str:
    """The text of a template with values, and with those that all pages have."""
    await current_app.update_template_context(values)
    return current_app.jinja_env.get_template(template).render(values)
