"""The inventory that is a list of engines in the settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from rapidflow_web import addresses
from rapidflow_web.errors import SettingsError
from rapidflow_web.executors.cluster.inventory import Certificates, Node
from rapidflow_web.setting_values import Engine

_CERT_PATH = "DOCKER_CERT_PATH"


class EngineList:
    """Implements `Inventory`. What a node's engine says of itself, such as its labels, is asked elsewhere.

    Engines at tcp:// are spoken with over TLS, with the keys in the folder that DOCKER_CERT_PATH names.
    Raises `SettingsError` where they are missing.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        certificates = _certificates(os.environ.get(_CERT_PATH, ""))
        self._nodes = [_node(engine, certificates) for engine in engines]

    async def nodes(self) -> Sequence[Node]:
        return self._nodes

    async def close(self) -> None:
        pass


def _node(engine: Engine, certificates: Certificates | None) -> Node:
    is_tcp = engine.address.startswith("tcp://")
    if is_tcp and certificates is None and not _is_loopback(urlsplit(engine.address).hostname or ""):
        raise SettingsError(
            f"RAPIDFLOW_ENGINES names {engine.address}, and whoever reaches an engine without TLS is root on "
            f"its machine: set {_CERT_PATH} to the folder with ca.pem, cert.pem and key.pem."
        )
    return Node(
        id=engine.name,
        name=engine.name,
        address=engine.address,
        certificates=certificates if is_tcp else None,
        labels={},
        slots=None,
        problem=None,
    )


def _certificates(folder: str) -> Certificates | None:
    if not folder:
        return None
    path = Path(folder)
    found = Certificates(path / "ca.pem", path / "cert.pem", path / "key.pem")
    for file in (found.ca, found.certificate, found.key):
        if not file.is_file():
            raise SettingsError(f"{_CERT_PATH} is '{folder}', and {file} is missing.")
    return found


def _is_loopback(host: str) -> bool:
    try:
        return addresses.parse(host).is_loopback
    except ValueError:
        return host == "localhost"
