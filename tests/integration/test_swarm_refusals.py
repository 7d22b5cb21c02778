"""What `rapidflow cluster` refuses where there is no swarm that it could use."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.support.machine import only_root
from tests.support.server import Server

pytestmark = only_root

_SOCKET = "unix:///var/run/docker.sock"


def test_swarm_has_to_be_named(new_server: Callable[..., Server]) -> None:
    done = new_server().command("cluster", "status")

    assert done.returncode == 2
    assert "RAPIDFLOW_SWARM is not set: name the engine of a manager" in done.stderr


def test_engine_without_a_swarm_is_refused(new_server: Callable[..., Server]) -> None:
    done = new_server(swarm=_SOCKET).command("cluster", "init", "--relay-image", "any")

    assert done.returncode == 2
    assert f"the engine at {_SOCKET} is in no swarm; run 'docker swarm init' on its machine" in done.stderr


def test_nothing_is_removed_where_nobody_can_be_asked(new_server: Callable[..., Server]) -> None:
    done = new_server(swarm=_SOCKET).command("cluster", "remove")

    assert done.returncode == 2
    assert done.stderr == (
        "\nrapidflow: the question was not answered, so nothing was done; see --help for doing without it\n"
    )


def test_manager_that_is_away_is_named(new_server: Callable[..., Server]) -> None:
    done = new_server(swarm="unix:///nothing.sock").command("cluster", "status")

    assert done.returncode == 2
    assert "the swarm's manager at unix:///nothing.sock can't be asked: the Docker engine" in done.stderr


def test_another_user_than_the_servers_is_refused(new_server: Callable[..., Server]) -> None:
    server = new_server(swarm="unix:///nothing.sock")
    server.data.mkdir()
    os.chown(server.data, 12345, 12345)
    done = server.command("cluster", "init", "--relay-image", "any")

    assert done.returncode == 2
    assert (
        "belongs to user 12345, and you are root: run 'rapidflow cluster' as the user of the" in done.stderr
    )
