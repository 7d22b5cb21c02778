"""Which credentials the engine is given for an image."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.executors.docker import registry_auth
from rapidflow_web.executors.docker.registry_auth import DEFAULT_REGISTRY, credentials, registry_of

_HELPER = """\
#!/bin/sh
read registry
echo "$1 $registry" >>"$(dirname "$0")/asked"
{body}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def configure(folder: Path, config: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def helper(folder: Path, name: str, body: str) -> None:
    script = folder / f"docker-credential-{name}"
    script.write_text(_HELPER.format(body=body))
    script.chmod(0o755)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("debian", DEFAULT_REGISTRY),
        ("debian:12", DEFAULT_REGISTRY),
        ("team/app", DEFAULT_REGISTRY),
        ("docker.io/library/debian", DEFAULT_REGISTRY),
        ("index.docker.io/team/app", DEFAULT_REGISTRY),
        ("registry.example.com/team/app:1", "registry.example.com"),
        ("registry:5000/app", "registry:5000"),
        ("localhost/app", "localhost"),
        ("127.0.0.1:5000/app@sha256:" + "0" * 64, "127.0.0.1:5000"),
    ],
)
def test_the_registry_of_an_image_is_told_from_its_name(image: str, registry: str) -> None:
    assert registry_of(image) == registry


@pytest.mark.parametrize(
    "address", ["r.example.com:5000", "https://r.example.com:5000", "http://r.example.com:5000/v1/"]
)
async def test_a_login_is_found_however_its_registry_is_written(folder: Path, address: str) -> None:
    configure(
        folder,
        {"auths": {"other.example.com": {"auth": encoded("x:y")}, address: {"auth": encoded("ann:a:b")}}},
    )
    assert await credentials("r.example.com:5000/team/app:1") == {
        "username": "ann",
        "password": "a:b",
        "serveraddress": "r.example.com:5000",
    }


@pytest.mark.parametrize("image", ["debian", "team/app", "docker.io/team/app"])
async def test_the_login_for_the_default_registry_counts_for_images_without_a_host(
    folder: Path, image: str
) -> None:
    configure(folder, {"auths": {DEFAULT_REGISTRY: {"auth": encoded("ann:secret")}}})
    found = await credentials(image)
    assert found is not None
    assert found["username"] == "ann"
    assert await credentials("r.example.com/app") is None


async def test_a_stored_token_is_passed_on(folder: Path) -> None:
    configure(folder, {"auths": {"r.example.com": {"auth": encoded("00:"), "identitytoken": "t0ken"}}})
    assert await credentials("r.example.com/app") == {
        "identitytoken": "t0ken",
        "serveraddress": "r.example.com",
    }


async def test_a_helper_for_the_registry_is_asked_before_the_common_store(folder: Path) -> None:
    helper(folder, "special", """echo '{"Username": "ann", "Secret": "secret"}'""")
    helper(folder, "common", """echo '{"Username": "<token>", "Secret": "t0ken"}'""")
    configure(folder, {"credHelpers": {"r.example.com": "special"}, "credsStore": "common"})
    assert await credentials("r.example.com/app") == {
        "username": "ann",
        "password": "secret",
        "serveraddress": "r.example.com",
    }
    assert await credentials("debian") == {"identitytoken": "t0ken", "serveraddress": DEFAULT_REGISTRY}
    assert (folder / "asked").read_text().splitlines() == ["get r.example.com", f"get {DEFAULT_REGISTRY}"]


@pytest.mark.parametrize(
    "body", ["echo credentials not found; exit 1", "echo not json", "echo '{}'", "echo '[]'"]
)
async def test_a_helper_that_knows_nothing_gives_nothing(folder: Path, body: str) -> None:
    helper(folder, "broken", body)
    configure(folder, {"credsStore": "broken"})
    assert await credentials("r.example.com/app") is None


async def test_a_helper_that_is_not_there_gives_nothing(folder: Path) -> None:
    configure(folder, {"credsStore": "missing"})
    assert await credentials("r.example.com/app") is None


async def test_a_helper_that_waits_for_a_person_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_auth, "_HELPER_SECONDS", 0.2)
    helper(folder, "asking", "exec sleep 1000")
    configure(folder, {"credsStore": "asking"})
    async with asyncio.timeout(20):
        assert await credentials("r.example.com/app") is None


@pytest.mark.parametrize(
    "config",
    [{}, [], None, {"auths": None}, {"auths": {"r.example.com": {}}}, {"auths": {"r.example.com": None}}],
)
async def test_a_configuration_without_a_login_gives_nothing(folder: Path, config: Any) -> None:
    configure(folder, config)
    assert await credentials("r.example.com/app") is None


@pytest.mark.parametrize("auth", ["", "!!!", encoded("no colon"), encoded(":no user")])
async def test_a_login_that_can_not_be_read_gives_nothing(folder: Path, auth: str) -> None:
    configure(folder, {"auths": {"r.example.com": {"auth": auth}}})
    assert await credentials("r.example.com/app") is None


async def test_without_a_configuration_there_are_no_credentials(folder: Path) -> None:
    assert await credentials("r.example.com/app") is None
    (folder / "config.json").write_text("not json")
    assert await credentials("r.example.com/app") is None
