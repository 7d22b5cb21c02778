"""Stand-ins for the APIs of forges, on loopback. They do what the real ones do as far as the server needs it.

Real clients of those forges work with them, which `tests/unit/test_forge_clients.py` checks.
"""

from __future__ import annotations

from tests.support.forges.bitbucket import Bitbucket
from tests.support.forges.gitea import Forgejo, Gitea
from tests.support.forges.github import GitHub
from tests.support.forges.gitlab import GitLab
from tests.support.forges.stand_in import COMMIT, TOKEN, Call, Canned, StandIn, running

ALL: tuple[type[StandIn], ...] = (GitHub, GitLab, Gitea, Forgejo, Bitbucket)

__all__ = [
    "ALL",
    "COMMIT",
    "TOKEN",
    "Bitbucket",
    "Call",
    "Canned",
    "Forgejo",
    "GitHub",
    "GitLab",
    "Gitea",
    "StandIn",
    "running",
]
