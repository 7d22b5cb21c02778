"""How git calls ssh: it asks nothing, and takes no host key that is not known already."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath

_STRICT = "-o BatchMode=yes -o StrictHostKeyChecking=yes"
# Bounded: others write much of what is searched.
_UNKNOWN = re.compile(r"No \S{1,40} host key is known for (\S{1,300}) and you have requested strict checking")
_CHANGED = re.compile(r"Host key for (\S{1,300}) has changed and you have requested strict checking")


def command(configured: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """How git would call ssh, for a shell. `configured` is the `core.sshCommand` that it would use."""
    return environment.get("GIT_SSH_COMMAND") or configured or environment.get("GIT_SSH") or "ssh"


def strict(configured: str | None, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that make git call ssh so. `configured` is the `core.sshCommand` that git would use.

    The first word of an option counts for ssh, so nothing that the user configured makes it less strict. A
    program that is not ssh is the administrator's own, and is called as it is.
    """
    program, _, rest = command(configured, environment).strip().partition(" ")
    if PurePath(program).name != "ssh":
        return {}
    return {"GIT_SSH_COMMAND": f"{program} {_STRICT} {rest}".strip()}


def explained(words: str) -> str:
    """What git and ssh said, or where it is about a host key, one sentence on what to do."""
    if found := _UNKNOWN.search(words):
        name, scan = found[1], _scan(found[1])
        return (
            f"the ssh key of the host {name} is not known here; as the user of the server run "
            f"'{scan}', compare what it prints with what the owner of the host publishes, "
            f"and add it to {_known_hosts()}"
        )
    if found := _CHANGED.search(words):
        name, scan = found[1], _scan(found[1])
        return (
            f"the ssh key of the host {name} is not the one that is known here, so it may be another host; "
            f"if the owner of the host confirms the new one, run 'ssh-keygen -R {name}' and '{scan}' as "
            f"the user of the server, and add what it prints to {_known_hosts()}"
        )
    return words


def _scan(name: str) -> str:
    """The command that prints the keys of a host, `name` or `[name]:port`."""
    host, separator, port = name.removeprefix("[").partition("]:")
    return f"ssh-keyscan -p {port} {host}" if separator else f"ssh-keyscan {host}"


def _known_hosts() -> str:
    return str(Path("~/.ssh/known_hosts").expanduser())
