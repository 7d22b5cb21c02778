"""What the API and the pages say of repositories and take for them alike."""

from __future__ import annotations

from quart import request

from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.pipeline.durations import parse_duration
from rapidflow_web.web.services import services


def hook_url(repository: Repository) -> str:
    """Where the forge is to send deliveries: by the name under which this request found the server."""
    public = services().settings.public_url
    base = str(public) if public is not None else request.host_url.rstrip("/")
    return f"{base}/hooks/{repository.hook_key}"


def poll_seconds(text: str) -> int | None:
    """What `poll` says, None for `off`. Raises `Invalid`."""
    if text == "off":
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Invalid([Problem("poll", f"{error}, or off")]) from None
