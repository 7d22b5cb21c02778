"""Where lines stand and when they were written, from the index alone."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from rapidflow_web.logs import line_map as log_map
from rapidflow_web.logs import log as logs
from rapidflow_web.logs.log import LogStore


@pytest.fixture
def store(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs")


def index(store: LogStore) -> Path:
    return store.path(1).with_suffix(".index")


async def written(store: LogStore, chance: random.Random, steps: int) -> bytes:
    writer = store.writer(1)
    source = 0
    for number in range(1, steps + 1):
        await writer.begin_step(10 + number, number, "bash", source)
        for _ in range(chance.randrange(60)):
            data = bytes(chance.choices(b"abc\n", k=chance.randrange(1, 20_000)))
            if chance.random() < 0.2:
                data = b"x" * len(data)
            source += len(data)
            await writer.append(data, source)
            if chance.random() < 0.05:
                writer.close()
                store = LogStore(store.path(1).parent.parent)
                writer = store.writer(1)
                source = writer.source
        await writer.end_step(0, source)
    await writer.seal(b"=== Build completed ===\n")
    return store.path(1).read_bytes()


@pytest.mark.parametrize("seed", range(8))
async def test_every_point_is_the_start_of_a_line_with_its_number(store: LogStore, seed: int):
    data = await written(store, random.Random(seed), 3)
    points = log_map.points(index(store), len(data))
    assert points[0] == (0, 0)
    for offset, line in points[1:]:
        assert data[offset - 1 : offset] == b"\n"
        assert data.count(b"\n", 0, offset) == line
    offsets = [offset for offset, _ in points]
    assert offsets == sorted(set(offsets))


async def test_points_are_as_near_to_each_other_as_lines_let_them(store: LogStore):
    writer = store.writer(1)
    await writer.begin_step(11, 1, "bash", 0)
    for number in range(2_000):
        await writer.append(b"%0999d\n" % number, number * 1000)
    await writer.end_step(0, 0)
    await writer.seal(b"")
    size = store.path(1).stat().st_size
    offsets = [offset for offset, _ in log_map.points(index(store), size)]
    gaps = [after - before for before, after in itertools.pairwise(offsets)]
    assert len(offsets) > size // (3 * 65_536)
    assert max(gaps) <= 2 * 65_536 + 1000


async def test_points_after_an_offset_go_on_where_the_others_ended(store: LogStore):
    data = await written(store, random.Random(99), 3)
    whole = log_map.points(index(store), len(data))
    middle = whole[len(whole) // 2][0]
    assert log_map.points(index(store), len(data), middle) == [p for p in whole if p[0] > middle]


def test_a_log_that_has_not_begun_has_one_point(store: LogStore):
    assert log_map.points(index(store), 0) == [(0, 0)]
    assert log_map.times(index(store), 0, 0, 100, 10) == []


async def test_lines_have_the_time_at_which_they_were_written(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
):
    clock = [1_000_000.0]
    monkeypatch.setattr(logs.time, "time", lambda: clock[0])
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    writer = store.writer(1)
    await writer.begin_step(11, 1, "bash", 0)
    starts = []
    for number in range(10):
        clock[0] += 5
        starts.append((writer.log.size, int(clock[0] * 1000)))
        await writer.append(b"line %d\n" % number, number)
    clock[0] += 60
    await writer.end_step(0, 0)
    times = log_map.times(index(store), writer.log.size, 0, writer.log.size, 100)
    for offset, at in starts:
        assert [t for o, t in times if o <= offset][-1] == at
    some = log_map.times(index(store), writer.log.size, starts[4][0], starts[6][0], 100)
    assert [t for o, t in some if o <= starts[4][0]][-1] == starts[4][1]
    assert [t for o, t in some if o <= starts[5][0]][-1] == starts[5][1]
    assert len(log_map.times(index(store), writer.log.size, 0, writer.log.size, 3)) <= 3
