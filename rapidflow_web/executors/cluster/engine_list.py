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
        certificates = certificates_of_environment()
        self._nodes = [_node(engine, certificates) for engine in engines]

    async def nodes(self) -> Sequence[Node]:
        return self._nodes

    async def close(self) -> None:
        pass


def _node(engine: Engine, certificates: Certificates | None) -> Node:
    is_tcp = engine.address.startswith("tcp://")
    if is_tcp and certificates is None:
        check_is_loopback("RAPIDFLOW_ENGINES", engine.address)
    return Node(
        id=engine.name,
        name=engine.name,
        address=engine.address,
        certificates=certificates if is_tcp else None,
        labels={},
        slots=None,
        problem=None,
    )


def check_is_loopback(variable: str, address: str) -> None:
    """Raises `SettingsError` for an address at tcp:// in a setting that others could reach without TLS."""
    if not _is_loopback(urlsplit(address).hostname or ""):
        raise SettingsError(
            f"{variable} names {address}, and whoever reaches an engine without TLS is root on "
            f"its machine: set {_CERT_PATH} to the folder with ca.pem, cert.pem and key.pem."
        )


def certificates_of_environment() -> Certificates | None:
    """The keys in the folder DOCKER_CERT_PATH; None without it. Raises `SettingsError` if one is missing."""
    folder = os.environ.get(_CERT_PATH, "")
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
