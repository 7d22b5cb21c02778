"""Cron lines: when a schedule is due, in a time zone, with numbers that are fixed for each pipeline.

The five fields are those of cron. `H` stands for a number that is always the same for one pipeline and
differs between them, so that what many run "at night" does not all begin at midnight: `H`, `H/15`, `H(0-7)`.

When the clocks change, a line that names hours is due once for each time of the wall clock: one in the hour
that is left out is due when that hour is over, one in the hour that comes twice only the first time. A line
for every hour, with `*`, goes by the time that really passes.
"""

from __future__ import annotations

import functools
import hashlib
import re
import zoneinfo
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from rapidflow_web.pipeline.suggestions import did_you_mean, near, short

MAX_CRON = 100
"""Characters."""

_FIELDS = (
    ("minute", range(60)),
    ("hour", range(24)),
    ("day of the month", range(1, 29)),  # every month has these
    ("month", range(1, 13)),
    ("day of the week", range(7)),
)
"""What `H` can stand for in each."""
_PLAIN = re.compile(r"[0-9A-Z*/#-]+")
_HASHED = re.compile(r"H(?:\(([0-9]{1,2})-([0-9]{1,2})\))?(?:/([0-9]{1,2}))?")
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_EXAMPLE = "minute, hour, day of the month, month, day of the week, as in '30 3 * * 1-5'"


class NeverComes(ValueError):
    """The time never comes. To find that out takes much longer than all else, some tens of milliseconds."""


def check_cron(text: str) -> str:
    """The cron line with single spaces. Raises ValueError with a sentence, or `NeverComes`."""
    if len(text) > MAX_CRON:
        raise ValueError(f"the cron line has {len(text)} characters; at most {MAX_CRON} are taken")
    line = " ".join(text.split())
    try:
        next_after(line, "UTC", _SOME_DAY, "")
    except CronSimError as error:
        name = str(error).removeprefix("Bad ").replace("-of-", " of the ")
        raise ValueError(f"'{short(line)}' is not a cron line; the {name} is wrong") from None
    return line


def check_timezone(text: str) -> str:
    """The name of a time zone, if there is one. Raises ValueError."""
    zones = _zones()
    if text.lower() not in zones or zones[text.lower()] != text:
        meant = zones.get(near(text[:60], zones), "")
        hint = did_you_mean(meant) or "; write one like Europe/Berlin, or UTC"
        raise ValueError(f"there is no time zone '{short(text)}'{hint}")
    return text


@functools.lru_cache
def _zones() -> dict[str, str]:
    """The names of all time zones, by their lower case."""
    return {name.lower(): name for name in sorted(zoneinfo.available_timezones())}


def next_after(line: str, timezone: str, time: datetime, seed: str) -> datetime:
    """When a line is due next after `time`, which has a zone; in UTC.

    `seed` decides what `H` is. Of several times that have passed since `time` this is the first: whoever was
    away builds once, and calls again with the present time. Raises ValueError where the time never comes, and
    CronSimError for a line that `check_cron` refuses.
    """
    simulated = CronSim(_expanded(line, seed), time.astimezone(ZoneInfo(timezone)))
    for found in simulated:
        # Within the hour that comes twice it also gives times of the first one.
        if (due := found.astimezone(UTC)) > time:
            return due
    raise NeverComes(f"the time of '{short(line)}' never comes")


def _expanded(line: str, seed: str) -> str:
    """The line for CronSim. Raises ValueError."""
    fields = line.upper().split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"'{short(line)}' is not a cron line; it needs five fields: {_EXAMPLE}")
    for number, field in enumerate(fields):
        fields[number] = ",".join(_item(item, number, line, seed) for item in field.split(","))
    minute, hour = fields[:2]
    if hour not in ("*", "*/1"):
        # A star at their beginning would let both go by the time that passes.
        fields[0], fields[1] = minute.replace("*", "0-59", 1), hour.replace("*", "0-23", 1)
    return " ".join(fields)


def _item(item: str, number: int, line: str, seed: str) -> str:
    """An item of a field, with numbers for `H`."""
    name, allowed = _FIELDS[number]
    if not (match := _HASHED.fullmatch(item)):
        if not _PLAIN.fullmatch(item):
            raise ValueError(f"'{short(line)}' is not a cron line; the {name} is wrong")
        return item
    first, last = int(match[1] or allowed[0]), int(match[2] or allowed[-1])
    step = int(match[3] or 0)
    if not allowed[0] <= first <= last <= allowed[-1] or match[3] == "0":
        raise ValueError(
            f"'{short(line)}' is not a cron line; the {name} 'H' can be from {allowed[0]} to {allowed[-1]}"
        )
    count = last - first + 1
    spread = int.from_bytes(hashlib.sha256(f"{number} {seed}".encode()).digest()[:8])
    chosen = first + spread % min(step or count, count)
    return ",".join(map(str, range(chosen, last + 1, step or count)))
