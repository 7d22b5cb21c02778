"""The output of a service is whole, whatever its engine leaves out."""

from __future__ import annotations

import struct

import aiodocker
from aiohttp import web
from aiohttp.test_utils import TestServer

from rapidflow_web.executors.docker.services import DockerService

_LINES = [f"line {number}\n".encode() for number in range(1, 6)]


async def test_what_an_engine_did_not_send_when_the_container_ended_is_read_from_its_file():
    async def logs(request: web.Request) -> web.Response:
        # An engine of version 20.10 does so on a busy machine.
        lines = _LINES[:3] if request.query["follow"] == "1" else _LINES
        return web.Response(body=b"".join(struct.pack(">BxxxL", 1, len(line)) + line for line in lines))

    app = web.Application()
    app.router.add_get("/v1.41/containers/id/logs", logs)
    async with (
        TestServer(app) as engine,
        aiodocker.Docker(str(engine.make_url("")), api_version="v1.41") as docker,
    ):
        service = DockerService(lambda: docker, "db", "id", "build")
        for offset in (0, 9, len(b"".join(_LINES))):
            output = b"".join([chunk async for chunk in service.output(offset)])
            assert output == b"".join(_LINES)[offset:]
