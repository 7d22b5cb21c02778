"""A server that others can reach, and its own builds, which must not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tests.support import images
from tests.support.builds import engine
from tests.support.server import Server
from tests.support.users import add_user, as_, token_of

ASK = r"""set -- $(ip route | grep default)
exec 4<>/dev/tcp/$3/{} && printf 'GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n' >&4 && head -n 1 <&4
"""
"""Asks the machine of the engine, which is the gateway of every container."""


def test_a_build_gets_no_answer_from_the_server_that_runs_it(new_server: Callable[..., Server]) -> None:
    server = new_server()
    server.set(bind=f"0.0.0.0:{server.port}")
    add_user(server, "root", "admin")
    server.start()
    token = token_of(server, "root")
    ask = ASK.format(server.port)
    # The server answers others.
    others = engine("run", "--rm", images.ensure(images.BASH), "bash", "-c", ask)
    assert re.fullmatch(r"HTTP/1.. 200 ?", others)

    config = json.dumps({"name": "asks the server", "steps": [f"({ask}) || echo refused"]})
    headers = {**as_(token), "Content-Type": "application/yaml"}
    pipeline = server.request("POST", "/pipelines", config, headers).json["id"]
    job = server.request("POST", f"/pipelines/{pipeline}/jobs", headers=as_(token)).json["id"]
    stream = server.request("GET", f"/jobs/{job}/logs/stream?follow=true", headers=as_(token)).text
    assert "HTTP/" not in stream
    assert stream.endswith("refused\n\n=== Build completed ===\n")


def test_a_page_leads_to_the_port_of_a_build_by_a_name_for_which_the_browser_has_no_session(
    server: Server,
) -> None:
    config = {"name": "a", "env": {"PORT": "8080"}, "expose_ports": True, "steps": ["echo up; sleep 1000"]}
    job = server.start_job(config)
    server.wait_output(job, "up\n")
    address = server.job(job)["ports"]["8080"]
    port = address.removeprefix("127.0.0.1:")
    for host, other in (("127.0.0.1", "localhost"), ("localhost", "127.0.0.1")):
        page = server.get(f"/ui/jobs/{job}", {"Host": f"{host}:{server.port}"}).text
        assert f'<a href="http://{other}:{port}">{address}</a>' in page
    assert server.post(f"/jobs/{job}/cancel").status == 200
