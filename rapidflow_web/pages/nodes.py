"""The page of the machines on which builds run."""

from __future__ import annotations

from typing import Any

from quart import Response

from rapidflow_web.db import build_lists, nodes
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint, fragment
from rapidflow_web.web.services import services


@blueprint.get("/ui/nodes")
async def show_nodes() -> Response:
    """The machines, with what runs on each."""
    return await forms.page("nodes.html", **await _state())


@blueprint.get("/ui/nodes/list")
async def nodes_list() -> Response:
    """The part of the page that changes."""
    return await fragment("_nodes.html", **await _state())


async def _state() -> dict[str, Any]:
    running = await nodes.running()
    return {
        "nodes": services().queue.nodes,
        "running": running,
        "builds": await build_lists.of_ids([job_id for of_one in running.values() for job_id in of_one]),
    }
