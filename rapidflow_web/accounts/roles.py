"""Roles, and whoever sends a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from rapidflow_web.db.visibility import WHOLE, Sight


class Role(IntEnum):
    """What somebody may do. Each may do all that those before it may."""

    VIEWER = 1
    BUILDER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The role as users write it."""
        return self.name.lower()


WORDS = tuple(role.word for role in Role)


def role(word: str) -> Role:
    """The role of this name. Raises ValueError with a sentence that names all of them."""
    if word not in WORDS:
        raise ValueError(f"use {', '.join(WORDS[:-1])} or {WORDS[-1]}")
    return Role[word.upper()]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who sends a request. `name` is None where nobody needs to log in."""

    name: str | None
    role: Role
    sight: Sight = WHOLE
    user_id: int | None = None
    token: str | None = None
    """The name of the token that was shown, if it was one."""
    token_id: int | None = None
    limited: bool = False
    """Whether the token could do less than its user when it was made."""
    shown: str = "nothing"
    """What `Access` knows them by: that token or session, or the name that a proxy gave."""

    @property
    def words(self) -> str:
        """How the audit log calls them."""
        if self.name is None:
            return "anyone"
        return f"{self.name} (token {self.token})" if self.token is not None else self.name


ANYONE = Actor(None, Role.ADMIN)
"""Whoever can reach a server that needs no login."""
