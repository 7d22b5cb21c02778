"""When a message that was not taken is sent again. Pure. Times are in ms."""

from __future__ import annotations

import random
from collections.abc import Callable

from rapidflow_web.db.statuses import GIVEN_UP_AFTER

FIRST = 1000
LONGEST = 15 * 60 * 1000
SELDOM = 3600 * 1000
"""Between two tries of what will fail until a person changes something, such as a token."""


def next_try(
    attempts: int,
    since: int,
    now: int,
    *,
    not_before: int | None = None,
    permanent: bool = False,
    chance: Callable[[], float] = random.random,
) -> int | None:
    """When to try again what failed now for the `attempts`th time, and was new at `since`; None: never.

    `not_before` is what the other side asked for. `chance` gives numbers from 0 to 1: those that failed
    together do not all come back together.
    """
    if not_before is not None and not_before > now:
        again = not_before + int(FIRST * chance())
    elif permanent:
        again = now + SELDOM
    else:
        wait = min(FIRST * 2 ** min(attempts - 1, 20), LONGEST)
        again = now + int(wait * (0.5 + chance() / 2))
    return again if again - since <= GIVEN_UP_AFTER else None
