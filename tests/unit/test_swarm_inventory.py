"""What is made of a manager's answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rapidflow_web.errors import EngineUnavailable, SettingsError
from rapidflow_web.executors.cluster import placement
from rapidflow_web.executors.cluster.manager import Machine, Manager, Service, Task, digest_of
from rapidflow_web.executors.cluster.relay_service import Options, wait
from rapidflow_web.executors.cluster.swarm import SwarmInventory, label_problem, slots_of


def _machine(label: str | None = None) -> Machine:
    labels = {} if label is None else {"rapidflow.slots": label}
    return Machine("i", "n", "10.0.0.5", labels, "", is_up=True, availability="active")


@pytest.mark.parametrize(
    "label, expected, is_wrong",
    [
        (None, 8, False),
        ("0", 0, False),
        ("5000", 5000, False),
        ("0000000000000012", 12, False),
        ("0000000009999999", 8, True),
        ("9" * 5000, 8, True),
        ("many", 8, True),
        ("²", 8, True),
    ],
)
def test_command_and_server_read_the_label_alike(label: str | None, expected: int, is_wrong: bool) -> None:
    machine = _machine(label)
    slots = slots_of(machine, Options("any", cpus=8))

    assert slots == expected
    assert placement.slots_of(machine.labels, slots, 2) == expected
    assert (label_problem(machine) is not None) is is_wrong


def test_manager_on_another_machine_needs_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    with pytest.raises(
        SettingsError, match=r"RAPIDFLOW_SWARM names tcp://10\.0\.0\.1:2375, and whoever reaches"
    ):
        Manager("tcp://10.0.0.1:2375", "a" * 32)
    Manager("tcp://127.0.0.1:2375", "a" * 32)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("registry.example.com:5000/team/relay:2", "registry.example.com:5000/team/relay@sha256:b"),
        ("docker.io/team/relay", "team/relay@sha256:a"),
        ("elsewhere/relay", None),
    ],
)
def test_digest_is_that_of_the_named_repository(name: str, expected: str | None) -> None:
    digests = ["team/relay@sha256:a", "registry.example.com:5000/team/relay@sha256:b"]
    assert digest_of(name, digests) == expected


class _Odd(Manager):
    async def machines(self) -> list[Machine]:
        raise KeyError("ID")

    async def service(self, name: str) -> Service | None:
        return None


async def test_answer_that_no_manager_should_give_is_named(tmp_path: Path) -> None:
    inventory = SwarmInventory(_Odd("unix:///any", "a" * 32), "a" * 32, tmp_path)
    with pytest.raises(EngineUnavailable, match="can't be understood: KeyError"):
        await inventory.nodes()
    await inventory.close()


class _Running(Manager):
    """A swarm of one machine, whose relay runs."""

    async def machines(self) -> list[Machine]:
        return [_machine()]

    async def tasks(self, service: Service) -> list[Task]:
        return [Task("t", "i", True, "running", "started", service.spec["TaskTemplate"])]


async def test_relay_that_runs_and_is_out_of_reach_is_named_with_the_reason() -> None:
    async def answers(machine: Machine) -> str | None:
        return "can't be reached at tcp://10.0.0.5:2378 from here: no route"

    service = Service("s", 1, {"TaskTemplate": {"ContainerSpec": {"Image": "relay"}}})
    behind: Sequence[str] = await wait(_Running("unix:///any", "a" * 32), service, answers, 0, down_too=False)
    assert behind == ["n: it can't be reached at tcp://10.0.0.5:2378 from here: no route"]
