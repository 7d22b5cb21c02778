"""Asks a Docker engine over its socket: to start the `docker` command takes 0.1 s of CPU time."""

from __future__ import annotations

import http.client
import json
import os
import socket
import urllib.parse
from contextlib import closing
from typing import Any

_SOCKET = "unix:///var/run/docker.sock"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(method: str, path: str, host: str | None = None, timeout: float = 120) -> tuple[int, Any]:
    """The status and the JSON of an answer, None without a body. `host` is the engine's, as in DOCKER_HOST.

    Raises `OSError` where no engine answers.
    """
    host = host or os.environ.get("DOCKER_HOST") or _SOCKET
    with closing(_Connection(host.removeprefix("unix://"), timeout)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if body else None


def answers(host: str) -> bool:
    """Whether the engine answers."""
    try:
        return ask("GET", "/version", host, timeout=5)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def containers(
    host: str | None = None, *, all: bool = True, label: str = "", name: str = ""
) -> list[dict[str, Any]]:
    """What an engine says of its containers, those that have ended only with `all`."""
    filters = {kind: [value] for kind, value in (("label", label), ("name", name)) if value}
    query = urllib.parse.urlencode({"all": int(all), "filters": json.dumps(filters)})
    status, listed = ask("GET", f"/containers/json?{query}", host)
    assert status == 200, listed
    return listed


def ids(host: str | None = None, *, all: bool = True, label: str = "", name: str = "") -> list[str]:
    """The ids of `containers`."""
    return [container["Id"] for container in containers(host, all=all, label=label, name=name)]


def remove(container: str) -> None:
    """As `docker rm --force --volumes`. Does nothing if it is gone."""
    ask("DELETE", f"/containers/{container}?force=1&v=1")
