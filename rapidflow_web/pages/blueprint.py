"""What all pages share: the blueprint, the words of templates, the state that every page shows."""

from __future__ import annotations

from typing import Any, Protocol

from quart import Blueprint, url_for

from rapidflow_web.db.database import now_ms
from rapidflow_web.web.services import services

blueprint = Blueprint("pages", __name__)


class _Timed(Protocol):
    started_at: int | None
    finished_at: int | None


def static(name: str) -> str:
    """The address of a static file."""
    return url_for("static", filename=name)


@blueprint.app_context_processor
def _everywhere() -> dict[str, Any]:
    scheduler = services().scheduler
    return {
        "static": static,
        "warning": scheduler.executor.warning,
        "engine_problem": scheduler.engine_problem,
    }


@blueprint.app_template_filter("duration")
def duration(timed: _Timed) -> str:
    """How long something took, or has taken so far."""
    if timed.started_at is None:
        return "–"
    milliseconds = max(0, (timed.finished_at or now_ms()) - timed.started_at)
    if milliseconds < 10_000:
        return f"{milliseconds / 1000:.1f}s"
    seconds = milliseconds // 1000
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60:02}m"


@blueprint.app_template_filter("ago")
def ago(milliseconds: int | None) -> str:
    """How long ago something was."""
    if milliseconds is None:
        return "–"
    seconds = max(0, now_ms() - milliseconds) // 1000
    if seconds < 60:
        return "just now"
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if count := seconds // length:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


@blueprint.app_template_filter("capitalize_first")
def capitalize_first(text: str) -> str:
    """The text as a sentence begins, the rest as it is."""
    return text[:1].upper() + text[1:]
