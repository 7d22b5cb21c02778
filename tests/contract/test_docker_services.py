"""What runs a service beside a build in Docker: its isolation, its limits, its ports, and that it goes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rapidflow_web.executors.base import BuildSpec
from rapidflow_web.executors.docker.executor import DockerExecutor
from rapidflow_web.executors.docker.frames import Frames
from rapidflow_web.executors.docker.listening import listening_ports
from rapidflow_web.pipeline.definition import Service
from rapidflow_web.pipeline.limits import Limits
from tests.support import images
from tests.support.builds import WAIT, Place, engine


async def begun(docker: Place, *services: Service, **options: Any) -> tuple[DockerExecutor, BuildSpec]:
    """A build that waits, with these services beside it."""
    executor = docker.executor
    assert isinstance(executor, DockerExecutor)
    spec = docker.spec(WAIT, **options)
    spec = dataclasses.replace(spec, limits=Limits(memory=64 * 1024**2, processes=32))
    running = await docker.start(spec)
    spec = dataclasses.replace(spec, container_id=running.id)
    for service in services:
        await executor.services.start(spec, service)
    return executor, spec


def service(name: str, command: str | None, image: str = images.BUSYBOX) -> Service:
    return Service(name, images.ensure(image), command=command)


def container_of(spec: BuildSpec, name: str) -> str:
    return engine(
        "ps", "--all", "--quiet", "--no-trunc",
        f"--filter=label=rapidflow.beside={spec.container_id}", f"--filter=label=rapidflow.service={name}",
    ).strip()  # fmt: skip


async def test_a_service_is_isolated_and_limited_like_a_build(docker: Place) -> None:
    executor, spec = await begun(docker, service("db", "exec sleep 1000"))
    assert spec.container_id is not None
    build, beside = (
        json.loads(engine("inspect", one))[0]["HostConfig"]
        for one in (spec.container_id, container_of(spec, "db"))
    )
    assert beside["NetworkMode"] == f"container:{spec.container_id}"
    same = (
        "CapAdd",
        "CapDrop",
        "SecurityOpt",
        "Memory",
        "MemorySwap",
        "PidsLimit",
        "Privileged",
        "PidMode",
        "IpcMode",
    )
    assert {key: beside[key] for key in same} == {key: build[key] for key in same}
    assert beside["Memory"] == 64 * 1024**2 and beside["SecurityOpt"] == ["no-new-privileges:true"]
    await executor.services.remove(spec)
    assert container_of(spec, "db") == ""


async def test_services_are_orphans_once_their_build_is(docker: Place) -> None:
    executor, spec = await begun(docker, service("db", "exec sleep 1000"))
    live = {spec.job_id: spec.container_id}
    assert await executor.orphans(lambda: live) == []
    # The build was prepared anew, in another container.
    live = {spec.job_id: "another"}
    assert len(await executor.orphans(lambda: live)) == 2
    assert await executor.sweep(lambda: live) == 2
    assert container_of(spec, "db") == ""


async def test_a_service_that_was_started_before_is_started_anew(docker: Place) -> None:
    executor, spec = await begun(docker, service("db", "exec sleep 1000"))
    first = container_of(spec, "db")
    await executor.services.start(spec, service("db", "exec sleep 1000"))
    assert container_of(spec, "db") not in ("", first)
    await executor.services.remove(spec)


async def test_services_are_named_in_the_hosts_of_any_user(docker: Place) -> None:
    executor, spec = await begun(docker, image=images.USER)
    await executor.services.introduce(spec, ["db", "web-1"])
    assert spec.container_id is not None
    hosts = engine("exec", spec.container_id, "cat", "/etc/hosts")
    assert hosts.endswith("127.0.0.1 db\n127.0.0.1 web-1")


async def test_only_ports_at_which_something_listens_are_found(docker: Place) -> None:
    executor, spec = await begun(docker)
    # Not even that of the engine's own name server.
    assert await executor.services.listening(spec) == set()
    await executor.services.start(
        spec, service("web", "httpd -p 7000; httpd -p 127.0.0.1:7001; exec sleep 1000")
    )
    found: set[int] = set()
    for _ in range(200):
        found = await executor.services.listening(spec)
        if len(found) == 2:
            break
    assert found == {7000, 7001}
    await executor.services.remove(spec)


async def test_output_goes_on_at_any_byte(docker: Place) -> None:
    executor, spec = await begun(
        docker, service("db", "seq 2000; head -c 100000 /dev/zero | tr '\\0' x; echo")
    )
    (found,) = await executor.services.find(spec)
    whole = b"".join([chunk async for chunk in found.output(0)])
    assert whole == b"".join(b"%d\n" % n for n in range(1, 2001)) + b"x" * 100_000 + b"\n"
    for offset in (1, 5000, len(whole) - 1, len(whole)):
        assert b"".join([chunk async for chunk in found.output(offset)]) == whole[offset:]
    how = await found.exit()
    assert how is not None and (how.code, how.out_of_memory) == (0, False)
    await executor.services.remove(spec)


async def test_a_service_over_its_memory_is_told_from_others(docker: Place) -> None:
    executor, spec = await begun(docker, service("db", "exec tail /dev/zero"))
    (found,) = await executor.services.find(spec)
    async for _ in found.output(0):
        pass
    how = await found.exit()
    assert how is not None and (how.code, how.out_of_memory) == (137, True)
    await executor.services.remove(spec)


def test_frames_are_taken_apart_however_they_are_cut() -> None:
    stream = b"".join(
        bytes([kind, 0, 0, 0]) + len(text).to_bytes(4) + text
        for kind, text in ((1, b"one\n"), (2, b"two\n"), (1, b""), (1, b"x" * 300))
    )
    for size in (1, 3, 8, 13, 1000):
        frames = Frames()
        pieces = [frames.feed(stream[at : at + size]) for at in range(0, len(stream), size)]
        assert b"".join(pieces) == b"one\ntwo\n" + b"x" * 300


def test_ports_are_those_of_addresses_that_listen_but_the_engines_own() -> None:
    printed = "00000000:1538\n0B00007F:A1B2\n00000000000000000000000000000000:0050\nnonsense\nx:zzzz\n"
    assert listening_ports(printed) == {5432, 80}
