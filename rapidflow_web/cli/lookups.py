"""What several commands ask the server for."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.client import Client

_PAGE = 200


def all_repositories(client: Client) -> list[dict[str, Any]]:
    """All repositories, newest first."""
    found: list[dict[str, Any]] = []
    while True:
        query = {"limit": _PAGE} | ({"before": found[-1]["id"]} if found else {})
        page = client.call("GET", f"/repositories?{urlencode(query)}", shape=response_shapes.REPOSITORIES)
        found += page
        if len(page) < _PAGE:
            return found
