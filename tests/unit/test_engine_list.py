"""The inventory that is a list in the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from rapidflow_web.errors import SettingsError
from rapidflow_web.executors.cluster.engine_list import EngineList
from rapidflow_web.executors.cluster.inventory import Certificates
from rapidflow_web.setting_values import Engine


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("host", ["10.0.0.5", "build1", "[2001:db8::1]"])
def test_an_engine_on_another_machine_needs_tls(host: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    with pytest.raises(SettingsError) as raised:
        EngineList([Engine("a", f"tcp://{host}:2376")])
    assert str(raised.value) == (
        f"RAPIDFLOW_ENGINES names tcp://{host}:2376, and whoever reaches an engine without TLS is root on "
        "its machine: set DOCKER_CERT_PATH to the folder with ca.pem, cert.pem and key.pem."
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_an_engine_of_this_machine_needs_none(host: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    (node,) = await EngineList([Engine("a", f"tcp://{host}:2375")]).nodes()
    assert node.certificates is None


async def test_tcp_is_spoken_with_the_keys_and_a_socket_without(keys: Path):
    engines = [Engine("a", "tcp://10.0.0.5:2376"), Engine("b", "unix:///run/b.sock")]
    over_tcp, at_socket = await EngineList(engines).nodes()
    assert over_tcp.certificates == Certificates(keys / "ca.pem", keys / "cert.pem", keys / "key.pem")
    assert (at_socket.certificates, at_socket.id, at_socket.name) == (None, "b", "b")


def test_a_key_that_is_missing_is_named(keys: Path):
    (keys / "key.pem").unlink()
    with pytest.raises(SettingsError, match=r"DOCKER_CERT_PATH is '.*', and .*/key.pem is missing"):
        EngineList([Engine("a", "tcp://10.0.0.5:2376")])
