"""Roles, and whoever sends a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from rapidflow_web.db.visibility import UNRESTRICTED, Visibility


class Role(IntEnum):
    """What somebody may do. Each may do all that those before it may."""

    VIEWER = 1
    BUILDER = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        """The role as users write it."""
        return self.name.lower()


ROLE_NAMES = tuple(role.label for role in Role)


def role_named(name: str) -> Role:
    """The role of this name. Raises ValueError with a sentence that names all of them."""
    if name not in ROLE_NAMES:
        raise ValueError(f"use {', '.join(ROLE_NAMES[:-1])} or {ROLE_NAMES[-1]}")
    return Role[name.upper()]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who sends a request. `name` is None where nobody needs to log in."""

    name: str | None
    role: Role
    visibility: Visibility = UNRESTRICTED
    user_id: int | None = None
    token: str | None = None
    """The name of the token that was sent, if it was one."""
    token_id: int | None = None
    limited: bool = False
    """Whether the token could do less than its user when it was made."""
    credential: str = "nothing"
    """What `Access` knows them by: that token or session, or the name that a proxy gave."""

    @property
    def audit_name(self) -> str:
        """The name that the audit log has for them."""
        if self.name is None:
            return "anyone"
        return f"{self.name} (token {self.token})" if self.token is not None else self.name


ANYONE = Actor(None, Role.ADMIN)
"""Whoever can reach a server that needs no login."""
