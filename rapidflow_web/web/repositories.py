"""What the API and the pages say of repositories and take for them alike."""

from __future__ import annotations

from quart import request

from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.pipeline.durations import parse_duration
from rapidflow_web.web import gate
from rapidflow_web.web.services import services


def server_url() -> str:
    """How the client calls this server, with the path below which it is."""
    if (public := services().settings.public_url) is not None:
        return str(public)
    return f"{'https' if gate.is_secure() else 'http'}://{request.host}"


def hook_url(repository: Repository) -> str:
    """Where the forge is to send deliveries: by the name under which this request found the server."""
    return f"{server_url()}/hooks/{repository.hook_key}"


def poll_seconds(text: str) -> int | None:
    """What `poll` says, None for `off`. Raises `Invalid`."""
    if text == "off":
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Invalid([Problem("poll", f"{error}, or off")]) from None
