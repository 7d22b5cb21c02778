"""What an inventory is: where the machines of a cluster are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files with which an engine is reached over TLS: who signed it, and who we are.

    The files of new keys have other names, so that whoever holds an old value sees that it is one.
    `of_relays` says that a relay answers, which also leads to ports of its machine. Its certificate need not
    name its address: the CA signs nothing but relays, of which all have one certificate, because machines
    join at any time.
    """

    ca: Path
    certificate: Path
    key: Path
    of_relays: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A machine whose engine runs builds.

    `id` stays the same as long as the machine is in the inventory, and is stored with builds; `name` is what
    people call it. `address` is where its engine is reached, such as "tcp://10.0.0.5:2376" or
    "unix:///run/engine.sock", with `certificates` for TLS. `slots` is how many builds it runs at once; None
    where its inventory does not say. `problem` is why no build may begin there, as the end of a sentence
    about it, such as "is drained"; builds that run there go on. None while builds may begin.
    """

    id: str
    name: str
    address: str
    certificates: Certificates | None
    labels: Mapping[str, str]
    slots: int | None
    problem: str | None


class Inventory(Protocol):
    """A list of machines that may change at any time."""

    async def nodes(self) -> Sequence[Node]:
        """The machines now. Raises `EngineUnavailable` where nobody can tell; those known before stay."""
        ...

    async def close(self) -> None:
        """Gives connections back."""
        ...
