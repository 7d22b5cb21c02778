"""The names of secrets. Pure: whether there is such a secret is found out when a build starts."""

from __future__ import annotations

import re

HIDDEN = "***"
"""What is shown where a value is secret."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_TAKEN = frozenset(
    (
        "BASHOPTS", "BASHPID", "BASH_VERSINFO", "CI", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID",
        "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "OPTIND", "PPID", "RANDOM", "SECONDS", "SHELLOPTS",
        "SRANDOM", "UID",
    )
)  # fmt: skip
"""Variables that shells set themselves. They reach a step in the command line of a process."""


def check_name(name: str) -> str:
    """The name, if a secret can have it. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("name a secret like a variable: letters, digits and underscores, a digit not first")
    if name in _TAKEN or name.startswith("RAPIDFLOW_"):
        raise ValueError(f"{name} is a variable that every build has; name the secret otherwise")
    return name
