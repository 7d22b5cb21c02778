"""What the processes of a container may do, and how much they may use."""

from __future__ import annotations

from typing import Any

from rapidflow_web.pipeline.limits import Limits

NEEDED = (
    # Package managers unpack files that belong to anybody, with set-user-id bits, and change their owners.
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP",
    # They fetch as a user of their own, and run scripts below another root folder.
    "SETGID", "SETUID", "SYS_CHROOT",
    # Who became another user can still be stopped.
    "KILL",
)  # fmt: skip
"""The capabilities of a build. Of those that the engine gives by default the others are dropped: AUDIT_WRITE,
MKNOD, NET_BIND_SERVICE (ports need no capability in a build's own network), NET_RAW, SETPCAP."""

_NONE_NEW = ["no-new-privileges:true"]

NOTHING: dict[str, Any] = {"CapDrop": ["ALL"], "SecurityOpt": _NONE_NEW}
"""The part of a container's configuration that leaves its processes what everybody may do."""


def of_build(new_privileges: bool) -> dict[str, Any]:
    """The part of a build's container's configuration; `new_privileges` lets `sudo` and the like work."""
    return {
        "CapDrop": ["ALL"],
        "CapAdd": list(NEEDED),
        **({} if new_privileges else {"SecurityOpt": _NONE_NEW}),
    }


def limited(limits: Limits) -> dict[str, Any]:
    """The limits as a part of a container's configuration."""
    host: dict[str, Any] = {}
    if limits.memory is not None:
        # No swap on top: it would make everything else on the machine slow before the limit tells.
        host |= {"Memory": limits.memory, "MemorySwap": limits.memory}
    if limits.shm is not None:
        host["ShmSize"] = limits.shm
    if limits.cpus is not None:
        host["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.processes is not None:
        host["PidsLimit"] = limits.processes
    return host
