"""How images come into the engine."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.docker.executor import DockerExecutor
from rapidflow_web.progress import untold
from tests.support import images
from tests.support.builds import Place, eventually
from tests.support.registry import Registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    yield made
    made.close()


async def test_a_missing_image_is_pulled_and_its_progress_told(docker: Place, registry: Registry) -> None:
    notes: list[str] = []
    parts: list[float] = []

    def note(detail: str, done: float | None = None) -> None:
        notes.append(detail)
        parts.extend(() if done is None else (done,))

    await docker.executor.images.provide(registry.image, note)
    assert notes[0] == f"pulling {registry.image}"
    assert any(note.startswith(f"pulling {registry.image}: ") and note.endswith(" MB") for note in notes)
    assert parts and parts == sorted(parts) and parts[-1] <= 1
    build = await docker.begin(docker.spec("ls -l /random", image=registry.image))
    assert await build.exit(1) == "0"
    await build.remove()


async def test_an_image_that_is_there_is_not_asked_for_again(docker: Place, registry: Registry) -> None:
    await docker.executor.images.provide(registry.image, untold)
    registry.requests.clear()
    await docker.executor.images.provide(registry.image, untold)
    assert registry.requests == []


async def test_builds_that_wait_for_the_same_image_pull_it_once(docker: Place, registry: Registry) -> None:
    await asyncio.gather(*(docker.executor.images.provide(registry.image, untold) for _ in range(3)))
    assert registry.pulls() == 1


async def test_without_a_tag_only_the_latest_is_pulled(docker: Place, registry: Registry) -> None:
    await docker.executor.images.provide(registry.image.removesuffix(":1"), untold)
    assert not [
        request for request in registry.requests if "tags/list" in request or "manifests/1" in request
    ]
    assert any(request.endswith("manifests/latest") for request in registry.requests)


async def test_an_image_that_the_registry_does_not_have_fails_with_its_words(
    docker: Place, registry: Registry
) -> None:
    image = registry.image.replace(":1", ":nope")
    # Another tag of it is there, and is no replacement.
    await docker.executor.images.provide(registry.image, untold)
    with pytest.raises(BuildError, match=f"could not pull image {image}: .*manifest unknown"):
        await docker.executor.images.provide(image, untold)


async def test_a_registry_that_can_not_be_reached_fails_with_the_words_of_the_engine(docker: Place) -> None:
    with pytest.raises(BuildError, match=r"could not pull image 127\.0\.0\.1:9/nothing:1: .*refused"):
        await docker.executor.images.provide("127.0.0.1:9/nothing:1", untold)


async def test_a_container_of_an_image_that_is_not_there_is_not_started(docker: Place) -> None:
    images.ensure(images.BASH)
    spec = docker.spec("true")
    missing = type(spec)(spec.job_id, "rapidflow-test/bash:0", spec.nonce, spec.root)
    with pytest.raises(BuildError, match="the image rapidflow-test/bash:0 is not there any more"):
        await docker.start(missing)


async def test_a_pull_that_takes_too_long_is_given_up(docker: Place, registry: Registry) -> None:
    registry.flows.clear()
    executor = DockerExecutor("0" * 32, engine_timeout=60, pull_timeout=1)
    try:
        with pytest.raises(BuildError, match="it took longer than 1s"):
            await executor.images.provide(registry.image, untold)
    finally:
        await executor.close()


async def test_a_pull_that_is_cancelled_lets_the_next_build_pull(docker: Place, registry: Registry) -> None:
    registry.flows.clear()
    first = asyncio.create_task(docker.executor.images.provide(registry.image, untold))
    second = asyncio.create_task(docker.executor.images.provide(registry.image, untold))
    await eventually(registry.pulls, "the registry is asked for the image")
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert not second.done()
    registry.flows.set()
    async with asyncio.timeout(30):
        await second


async def test_a_private_image_is_pulled_with_the_configured_credentials(
    docker: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    private = Registry(login="ann:s3cret:with:colons")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    try:
        with pytest.raises(BuildError, match=f"could not pull image {private.image}: .*no basic auth"):
            await docker.executor.images.provide(private.image, untold)
        auth = base64.b64encode(b"ann:s3cret:with:colons").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {private.host: {"auth": auth}}}))
        await docker.executor.images.provide(private.image, untold)
    finally:
        private.close()
