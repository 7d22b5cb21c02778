"""How it ends that a message was not taken."""

from __future__ import annotations

from rapidflow_web.errors import RapidFlowError


class NotTaken(RapidFlowError):
    """A message that was not taken, in a sentence without secrets.

    `not_before` is the time in ms before which nothing should be sent there. `permanent`: it fails again
    until somebody changes something. `hopeless`: this message will never be taken.
    """

    def __init__(
        self, message: str, *, not_before: int | None = None, permanent: bool = False, hopeless: bool = False
    ) -> None:
        super().__init__(message)
        self.not_before = not_before
        self.permanent = permanent
        self.hopeless = hopeless
