"""Cron lines: when they are due, also when the clocks change, and what `H` is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rapidflow_web.pipeline.cron import check_cron, check_timezone, next_after

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2027, 3, 28, tzinfo=UTC)
"""In Berlin, two o'clock is left out on this day."""
AUTUMN = datetime(2027, 10, 31, tzinfo=UTC)
"""In Berlin, the hour after two o'clock comes twice on this day."""


def due_times(line: str, begin: datetime, end: datetime, zone: str = "Europe/Berlin", seed: str = "x"):
    """All times from `begin` to `end`, in UTC."""
    times: list[datetime] = []
    time = begin - timedelta(seconds=1)
    while (time := next_after(line, zone, time, seed)) < end:
        times.append(time)
    return times


def on_the_wall(times: list[datetime]) -> list[str]:
    """The times as clocks in Berlin show them, with the offset where it matters."""
    return [f"{time.astimezone(BERLIN):%H:%M%z}".removesuffix("00") for time in times]


def of_the_night(line: str, day: datetime) -> list[str]:
    """When a line is due on a day in Berlin, from midnight to six o'clock."""
    begin = day.replace(tzinfo=BERLIN)
    return on_the_wall(due_times(line, begin.astimezone(UTC), begin.replace(hour=6).astimezone(UTC)))


@pytest.mark.parametrize(
    ("line", "spring", "autumn"),
    [
        ("30 2 * * *", ["03:00+02"], ["02:30+02"]),
        ("0 2 * * *", ["03:00+02"], ["02:00+02"]),
        ("0 3 * * *", ["03:00+02"], ["03:00+01"]),
        ("59 1 * * *", ["01:59+01"], ["01:59+02"]),
        ("*/20 2 * * *", ["03:00+02"], ["02:00+02", "02:20+02", "02:40+02"]),
        ("15,45 2,3 * * *", ["03:00+02", "03:15+02", "03:45+02"],
         ["02:15+02", "02:45+02", "03:15+01", "03:45+01"]),
        ("0 */2 * * *", ["00:00+01", "03:00+02", "04:00+02"], ["00:00+02", "02:00+02", "04:00+01"]),
        ("0 * * * *", ["00:00+01", "01:00+01", "03:00+02", "04:00+02", "05:00+02"],
         ["00:00+02", "01:00+02", "02:00+02", "02:00+01", "03:00+01", "04:00+01", "05:00+01"]),
        ("0 2/1 * * *", ["03:00+02", "04:00+02", "05:00+02"],
         ["02:00+02", "03:00+01", "04:00+01", "05:00+01"]),
        ("0 */1 * * *", ["00:00+01", "01:00+01", "03:00+02", "04:00+02", "05:00+02"],
         ["00:00+02", "01:00+02", "02:00+02", "02:00+01", "03:00+01", "04:00+01", "05:00+01"]),
    ],
)  # fmt: skip
def test_schedule_runs_once_when_the_clocks_change(line: str, spring: list[str], autumn: list[str]):
    assert of_the_night(line, SPRING) == spring
    assert of_the_night(line, AUTUMN) == autumn


@pytest.mark.parametrize("line", ["30 2 * * *", "*/20 2 * * *", "*/7 * * * *", "0 */2 * * *", "59 1,2 * * *"])
@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_next_time_is_the_same_from_every_moment_before_it(line: str, day: datetime):
    begin, end = day - timedelta(hours=6), day + timedelta(hours=12)
    times = due_times(line, begin, end)
    for before, after in pairwise([begin, *times]):
        moment = before
        while moment < after:
            assert next_after(line, "Europe/Berlin", moment, "x") == after
            moment += timedelta(minutes=7, seconds=13, microseconds=5)


def test_server_that_was_down_over_three_times_finds_one_due_and_the_next_after_now():
    last = datetime(2026, 5, 4, 1, tzinfo=UTC)
    now = last + timedelta(days=3, hours=1)
    assert next_after("0 1 * * *", "UTC", last, "x") == last + timedelta(days=1)
    assert next_after("0 1 * * *", "UTC", now, "x") == last + timedelta(days=4)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("30 3 * * 1-5", "2026-05-04 03:30"),
        ("0 0 * * 0", "2026-05-03 00:00"),
        ("0 0 * * 7", "2026-05-03 00:00"),
        ("0 12 29 2 *", "2028-02-29 12:00"),
        ("0 0 L * *", "2026-05-31 00:00"),
        ("0 0 LW * *", "2026-05-29 00:00"),
        ("0 0 * JUN MON#2", "2026-06-08 00:00"),
        ("0 0 * * 5L", "2026-05-29 00:00"),
        ("0 0 13 * 5", "2026-05-08 00:00"),
        ("0 0 * jun mon", "2026-06-01 00:00"),
        ("5/20 0 * * *", "2026-05-03 00:05"),
    ],
)
def test_cron_line_means_what_cron_means(line: str, expected: str):
    check_cron(line)
    found = next_after(line, "UTC", datetime(2026, 5, 2, 13, tzinfo=UTC), "")
    assert f"{found:%Y-%m-%d %H:%M}" == expected


@pytest.mark.parametrize(
    ("field", "first", "last"), [("H", 0, 59), ("H(0-7)", 0, 7), ("H(50-59)", 50, 59), ("H(3-3)", 3, 3)]
)
def test_hashed_number_is_fixed_for_a_pipeline_and_spread_over_its_range(field: str, first: int, last: int):
    minutes: set[int] = set()
    for seed in map(str, range(600)):
        times = due_times(f"{field} * * * *", SPRING, SPRING + timedelta(hours=4), "UTC", seed)
        assert len({time.minute for time in times}) == 1 and len(times) == 4
        minutes.add(times[0].minute)
    assert minutes == set(range(first, last + 1))


@pytest.mark.parametrize(
    ("field", "steps", "count"), [("H/15", {15}, 4), ("H/20", {20}, 3), ("H(0-29)/10", {10, 40}, 3)]
)
def test_hashed_steps_keep_their_distance(field: str, steps: set[int], count: int):
    begins: set[int] = set()
    for seed in map(str, range(300)):
        times = due_times(f"{field} * * * *", SPRING, SPRING + timedelta(hours=3), "UTC", seed)
        assert {(after - before).seconds // 60 for before, after in pairwise(times)} == steps
        assert len(times) == 3 * count
        begins.add(times[0].minute)
    assert begins == set(range(min(steps)))


def test_hashed_fields_differ_from_each_other():
    chosen = {
        (time.minute, time.hour, time.day)
        for seed in map(str, range(50))
        for time in due_times("H H H * *", SPRING.replace(day=1), SPRING.replace(day=31), "UTC", seed)
    }
    assert len(chosen) == 50 and all(day <= 28 for _, _, day in chosen)


def test_hashed_schedule_runs_once_when_the_clocks_change():
    for seed in map(str, range(30)):
        for day in (SPRING, AUTUMN):
            assert len(of_the_night("H 2 * * *", day)) == len(of_the_night("H H(1-4) * * *", day)) == 1, seed


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "'' is not a cron line; it needs five fields: minute, hour, day of the month, month, day of the "
         "week, as in '30 3 * * 1-5'"),
        ("@daily", "'@daily' is not a cron line; it needs five fields: minute, hour, day of the month, "
         "month, day of the week, as in '30 3 * * 1-5'"),
        ("0 0 0 * * *", "'0 0 0 * * *' is not a cron line; it needs five fields: minute, hour, day of the "
         "month, month, day of the week, as in '30 3 * * 1-5'"),
        ("60 * * * *", "'60 * * * *' is not a cron line; the minute is wrong"),
        ("0 24 * * *", "'0 24 * * *' is not a cron line; the hour is wrong"),
        ("0 0 31 2 *", "'0 0 31 2 *' is not a cron line; the day of the month is wrong"),
        ("0 0 1 13 *", "'0 0 1 13 *' is not a cron line; the month is wrong"),
        ("0 0 * * 8", "'0 0 * * 8' is not a cron line; the day of the week is wrong"),
        ("0 0 * * MON#6", "'0 0 * * MON#6' is not a cron line; the day of the week is wrong"),
        ("*/0 * * * *", "'*/0 * * * *' is not a cron line; the minute is wrong"),
        ("5-1 * * * *", "'5-1 * * * *' is not a cron line; the minute is wrong"),
        ("١ * * * *", "'١ * * * *' is not a cron line; the minute is wrong"),
        ("0 0 * 2 SAT#5,31", "'0 0 * 2 SAT#5,31' is not a cron line; the day of the week is wrong"),
        ("H(0-60) * * * *", "'H(0-60) * * * *' is not a cron line; the minute 'H' can be from 0 to 59"),
        ("0 0 H(1-31) * *",
         "'0 0 H(1-31) * *' is not a cron line; the day of the month 'H' can be from 1 to 28"),
        ("H(7-3) * * * *", "'H(7-3) * * * *' is not a cron line; the minute 'H' can be from 0 to 59"),
        ("H/0 * * * *", "'H/0 * * * *' is not a cron line; the minute 'H' can be from 0 to 59"),
        ("H-5 * * * *", "'H-5 * * * *' is not a cron line; the minute is wrong"),
        ("0 0 30 2 */2", "'0 0 30 2 */2' is not a cron line; the day of the month is wrong"),
        ("0 0 LW * */7", "the time of '0 0 LW * */7' never comes"),
        ("1," * 100, "the cron line has 200 characters; at most 100 are taken"),
    ],
)  # fmt: skip
def test_wrong_cron_line_is_refused_with_what_is_wrong(line: str, sentence: str):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check_cron(line)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Europe/Berln", "there is no time zone 'Europe/Berln', did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "there is no time zone 'europe/berlin', did you mean 'Europe/Berlin'?"),
        ("+02:00", "there is no time zone '+02:00'; write one like Europe/Berlin, or UTC"),
        ("../../etc/passwd", None),
        ("/etc/localtime", None),
        ("Europe", None),
        ("", None),
        ("x" * 5000, None),
    ],
)
def test_unknown_time_zone_is_refused(name: str, sentence: str | None):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence or 'there is no time zone ')}"):
        check_timezone(name)


def test_time_zones_are_known_also_where_the_system_has_none():
    assert check_timezone("Europe/Berlin") == "Europe/Berlin" and check_timezone("UTC") == "UTC"
    import tzdata  # what zoneinfo takes then

    assert tzdata.IANA_VERSION


@given(st.text(alphabet="0123456789*/,-#LWH() MONFEB", max_size=40), st.integers(0, 40_000))
@example("0 0 29 2 MON#5", 0)
@example("H(0-0)/99 H/23 H/27 H/11 H/6", 39_999)
def test_any_text_is_refused_or_due_after_any_moment(line: str, hours: int):
    time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    try:
        line = check_cron(line)
    except ValueError as error:
        assert str(error)
        return
    assert next_after(line, "Europe/Berlin", time, "seed") > time
