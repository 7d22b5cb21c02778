"""On which occasions a message is sent. Pure."""

from __future__ import annotations

from collections.abc import Collection


def occasions_of(status: str, before: str | None) -> tuple[str, ...]:
    """What the end of a build is; the first that is wanted is the one that the message names.

    `before` is how the build before it ended, None: there is none.
    The first failure of a branch breaks it, also if nothing was built there before.
    """
    if status == "failed":
        return ("failed", "always") if before == "failed" else ("broken", "failed", "always")
    if status == "success" and before == "failed":
        return ("fixed", "always")
    return ("always",)


def occasion(status: str, before: str | None, wanted: Collection[str]) -> str | None:
    """The occasion to send a message of this end to one who wants those; None if there is none."""
    return next((one for one in occasions_of(status, before) if one in wanted), None)
