"""Which variables a build may be given. Pure: whether there is a secret is found out when a build starts."""

from __future__ import annotations

import re

from rapidflow_web.pipeline.words import short

MAX_ENV_VALUE = 128_000
"""Bytes. Linux starts no process with a variable of more than 128 KiB, its name included."""
HIDDEN = "***"
"""What is shown where a value is secret."""
CLONE_PASSWORD = "RAPIDFLOW_CLONE_PASSWORD"  # noqa: S105 - only its name
"""A secret of a pipeline that no build is given: with it the server fetches the source."""

OWN_OF_SHELLS = frozenset(
    (
        "BASHOPTS", "BASHPID", "BASH_VERSINFO", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID",
        "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "OPTIND", "PPID", "RANDOM", "SECONDS", "SHELLOPTS",
        "SRANDOM", "UID",
    )
)  # fmt: skip
"""Variables of which shells have their own: some end when told to export them, some export what they like."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def check_env_key(key: str) -> str:
    """The key, if a shell can export it. Raises ValueError."""
    if not _NAME.fullmatch(key):
        raise ValueError(
            f"{short(key)!r} is not the name of a variable; use letters, digits and _, a digit not first"
        )
    return key


def check_env_value(key: str, value: str) -> str:
    """The value, if a process can be given it. Raises ValueError."""
    if "\0" in value:
        raise ValueError(f"the value of {key} has a NUL character, which no process can be given")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the value of {key} has half a character, which is not valid Unicode") from None
    if size > MAX_ENV_VALUE:
        raise ValueError(
            f"the value of {key} has {size} bytes; at most {MAX_ENV_VALUE} are taken, use a file for more"
        )
    return value


def check_secret_name(name: str) -> str:
    """The name, if a secret can have it. Raises ValueError."""
    check_env_key(name)
    if name == CLONE_PASSWORD:
        raise ValueError(
            f"{name} is for fetching the source of one pipeline; store it with "
            f"'rapidflow secret set {name} --pipeline ID', no build is given it"
        )
    # Shells take their own variables only from a command line, which others can read.
    if name in OWN_OF_SHELLS or name == "CI" or name.startswith("RAPIDFLOW_"):
        raise ValueError(f"{name} is a variable that every build has; name the secret otherwise")
    return name
